"Progress of a download or an unpacking, in bytes: one moving line on a terminal, a plain line now and then elsewhere."
import shutil
import sys
import time
from planet.cli import UserError, is_terminal, say

__all__ = ['ByteProgress', 'DiskTooSmall', 'size_text', 'need_space']

EVERY, MOVE = 10, .1 # seconds between lines in a pipe, and between moves on a terminal

def size_text(n:float, # bytes
             ) -> str: # such as "15.5 MB"
    "A number of bytes with its unit."
    units = ['GB', 'MB', 'kB', 'bytes']
    while n >= 999.5 and len(units) > 1: n, _ = n/1000, units.pop()
    unit = units[-1]
    return f"{n:.{0 if n >= 100 or unit == 'bytes' else 1}f} {unit}"

class DiskTooSmall(UserError):
    "Less free space than a file or an archive needs."

def need_space(folder, # where something is to be written; it need not be there yet
               n:int, # bytes it takes
               what:str, # what it is
              ):
    "Raise `DiskTooSmall` where the disk of `folder` has no room for `n` bytes."
    place = folder
    while not place.exists() and place != place.parent: place = place.parent
    free = shutil.disk_usage(place).free
    if n > free: raise DiskTooSmall(f"{what} needs {size_text(n)} and the disk of {folder} has {size_text(free)} free: "
                                    "free some space")

class ByteProgress:
    "A context manager that counts bytes and shows how many of how many, how fast, and the time left."
    def __init__(self, label:str, # what is done, such as "fetching train-jpg.tar.7z"
                 total:int=None, # bytes in all, where it is known
                 done:int=0, # bytes that were there before
                ):
        self.label, self.total, self.done, self.start = label, total, done, done
        self.began = self.told = time.monotonic()
        self.terminal = is_terminal()

    def __enter__(self): return self
    def __exit__(self, *error):
        if self.terminal and self.told != self.began: self._draw('')

    def _draw(self, line):
        try: print('\r' + line[:shutil.get_terminal_size().columns - 1] + '\x1b[K', end='', flush=True)
        except (OSError, ValueError): pass # the terminal is gone: the download goes on

    def add(self, n:int):
        "`n` bytes more."
        self.done += n
        now = time.monotonic()
        if now - self.told < (MOVE if self.terminal else EVERY): return
        self.told = now
        if self.terminal: self._draw(self._line(now))
        else: say(self._line(now))

    def _line(self, now):
        speed = (self.done - self.start)/max(now - self.began, 1e-3)
        line = f'{self.label}: {size_text(self.done)}'
        if self.total:
            part = min(1, self.done/self.total)
            utf = 'utf' in (sys.stdout.encoding or '').lower()
            bar = f" {'━'*round(20*part):╌<20}" if self.terminal and utf else ''
            line += f' of {size_text(self.total)}{bar} {part:.0%}'
        line += f', {size_text(speed)}/s'
        if self.total and speed and now - self.began > 1: line += f', {_clock((self.total - self.done)/speed)} left'
        return line

    @property
    def seconds(self) -> float:
        "Seconds since it began."
        return time.monotonic() - self.began

def _clock(seconds):
    seconds = max(0, round(seconds))
    if seconds < 60: return f'{seconds} s'
    return f'{seconds//60}:{seconds%60:02}' + ' min' if seconds < 3600 else f'{seconds//3600}:{seconds//60%60:02} h'
