"The competition's files, from Kaggle into a folder that `from_folder` reads."
from .account import COMPETITION, access, credentials

__all__ = ['COMPETITION', 'access', 'credentials']
