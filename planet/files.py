"Folders and files: which there are, and opening regular ones alone. The label tables and the images are read through here."
from pathlib import Path
import errno, os, stat
from planet.cli import UserError, near_names

__all__ = ['SUFFIXES', 'existing_folder', 'open_regular', 'why_unreadable', 'images_in', 'stem']

SUFFIXES = '.jpg', '.jpeg', '.png', '.webp', '.tif', '.tiff', '.bmp' # of image files, in lower case

def existing_folder(folder, option=''):
    "`folder` as a path; `UserError`, which names the `option` it came with, and near names, where there is no such folder."
    root = Path(folder).expanduser()
    if root.is_dir(): return root
    siblings = [p.name for p in root.parent.iterdir() if p.is_dir()] if root.parent.is_dir() else []
    raise UserError(f"{option}{root}: no such folder{near_names(root.name, siblings, 1)}")

KINDS = ((stat.S_ISDIR, 'a folder'), (stat.S_ISFIFO, 'a FIFO'), (stat.S_ISSOCK, 'a socket'), (stat.S_ISCHR, 'a device'), (stat.S_ISBLK, 'a device'))

def open_regular(path):
    "Open a file in binary mode; `OSError` where it is no regular file: a FIFO would block for ever, and a device never end."
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        kind = next((name for test, name in KINDS if test(mode)), 'of another kind')
        raise OSError(errno.EINVAL, f'not a regular file, but {kind}', str(path))
    return open(path, 'rb')

def why_unreadable(e:Exception) -> str:
    "What is wrong with a file, in a few words."
    said = ' '.join((getattr(e, 'strerror', None) or str(e) or type(e).__name__).split())
    return 'truncated' if 'truncated' in said else 'no image' if 'cannot identify image file' in said else said

def images_in(folder) -> list[Path]:
    "The image files that lie in `folder`, by their names' endings; hidden ones are left out."
    if not folder.is_dir(): return []
    return sorted(folder/e.name for e in os.scandir(folder) if e.name.lower().endswith(SUFFIXES) and not e.name.startswith('.'))

def stem(name:str) -> str:
    "A file's name without the ending of an image file."
    return name[:name.rindex('.')] if name.lower().endswith(SUFFIXES) else name
