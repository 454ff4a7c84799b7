"How far a download or an unpacking is: a line that moves on a terminal, a line now and then elsewhere."
import shutil, sys, time
from planet.cli import UserError, is_terminal, say

__all__ = ['Meter', 'size_text', 'need_space']

EVERY, MOVE = 10, .1 # seconds between lines in a pipe, and between moves on a terminal

def size_text(n:float, # bytes
             ) -> str: # such as "15.5 MB"
    for unit in ('bytes', 'kB', 'MB'):
        if n < 999.5: break
        n /= 1000
    else: unit = 'GB'
    return f"{n:.{0 if n >= 100 or unit == 'bytes' else 1}f} {unit}"

def need_space(folder, # where something is to be written; it need not be there yet
               n:int, # bytes it takes
               what:str, # what it is
              ):
    "Raise `UserError` where the disk of `folder` has no room for `n` bytes."
    place = folder
    while not place.exists() and place != place.parent: place = place.parent
    free = shutil.disk_usage(place).free
    if n > free: raise UserError(f"{what} needs {size_text(n)} and the disk of {folder} has {size_text(free)} free: "
                                 "free some space, or name a folder on another disk with --to")

class Meter:
    "Counts bytes, and says how many of how many, how fast and how long still. A context manager."
    def __init__(self, what:str, # what is done, such as "fetching train-jpg.tar.7z"
                 total:int=None, # bytes in all, where it is known
                 done:int=0, # bytes that were there before
                ):
        self.what, self.total, self.done, self.start = what, total, done, done
        self.began = self.told = time.monotonic()
        self.terminal = is_terminal()

    def __enter__(self): return self
    def __exit__(self, *error):
        if self.terminal and self.told != self.began: print('\r\x1b[K', end='', flush=True)

    def add(self, n:int):
        "`n` bytes more."
        self.done += n
        now = time.monotonic()
        if now - self.told < (MOVE if self.terminal else EVERY): return
        self.told = now
        if self.terminal: print('\r' + self._line(now)[:shutil.get_terminal_size().columns - 1] + '\x1b[K', end='', flush=True)
        else: say(self._line(now))

    def _line(self, now):
        speed = (self.done - self.start)/max(now - self.began, 1e-3)
        line = f'{self.what}: {size_text(self.done)}'
        if self.total:
            part = min(1, self.done/self.total)
            bar = f" {'━'*round(20*part):╌<20}" if self.terminal and 'utf' in (sys.stdout.encoding or '').lower() else ''
            line += f' of {size_text(self.total)}{bar} {part:.0%}'
        line += f', {size_text(speed)}/s'
        if self.total and speed and now - self.began > 1: line += f', {_clock((self.total - self.done)/speed)} left'
        return line

    @property
    def seconds(self): return time.monotonic() - self.began

def _clock(seconds):
    seconds = max(0, round(seconds))
    if seconds < 60: return f'{seconds} s'
    return f'{seconds//60}:{seconds%60:02}' + ' min' if seconds < 3600 else f'{seconds//3600}:{seconds//60%60:02} h'
