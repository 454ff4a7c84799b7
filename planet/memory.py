"Keep the memory that networks on a CPU free: a batch then takes it again without a page fault for every 4 kB."
import ctypes
import os
import sys

__all__ = ['keep_memory']

# options of glibc's `mallopt`, from its malloc.h
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4

def keep_memory() -> bool: # whether the C library could be asked to
    """Ask glibc to keep freed memory in the process, however large the pieces; elsewhere nothing happens.

    By itself it returns each piece above 32 MB to the system, which clears and maps the pages again for the next layer:
    a batch of 64 chips of 128 px has many such pieces. The process then keeps the most that it needed at any time.
    $MALLOC_MMAP_MAX_ or $MALLOC_TRIM_THRESHOLD_ in the environment are left as they are. (Source: mallopt(3).)"""
    if not sys.platform.startswith('linux') or {'MALLOC_MMAP_MAX_', 'MALLOC_TRIM_THRESHOLD_'} & set(os.environ):
        return False
    try: mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError): return False # musl has none
    options = (M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, 64 << 20)
    return all([mallopt(option, value) for option, value in options])
