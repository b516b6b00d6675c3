"""Where files are kept that can be fetched or made again."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """$BOXWRIGHT_HOME, else `boxwright` in the user's cache, which $XDG_CACHE_HOME names and ~/.cache is otherwise."""
    named = os.environ.get("BOXWRIGHT_HOME")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "boxwright"
