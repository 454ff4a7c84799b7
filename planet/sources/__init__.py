"Where chips come from, and whether they are whole: fetch, unpack, verify, and end in one `Chips`."
from .chips import *
from .fetch import get
from .check import *
from .counts import *
from .machine import *
