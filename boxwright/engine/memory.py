"""Memory of the process on Linux: freed blocks stay for the next tensor."""

import ctypes
import os
import platform

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # names of glibc's mallopt
_NEVER = -1


def keep_freed_memory() -> bool:
    """Has glibc keep freed memory for the next request; returns whether it does.

    Otherwise every map of a network is mapped anew and filled with zeros, page by page, which takes a tenth of the
    time of a detection. The process then holds the most that it ever needed. Where the user has set malloc up, by
    MALLOC_* or GLIBC_TUNABLES, or replaced it, that stays.
    """
    is_set_up = any(name.startswith("MALLOC_") or name in ("GLIBC_TUNABLES", "LD_PRELOAD") for name in os.environ)
    if is_set_up or platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(_MMAP_MAX, 0) and libc.mallopt(_TRIM_THRESHOLD, _NEVER))
