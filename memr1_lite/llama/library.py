"""The shared library: loaded once, with its log sent to Python's logging."""

from __future__ import annotations

import ctypes
import functools
import logging
import os
from importlib import metadata
from typing import Any

logger = logging.getLogger("memr1_lite.llama")
logger.addHandler(logging.NullHandler())

ERROR_LEVEL = 3
LEVELS = {1: logging.DEBUG, 2: logging.DEBUG, ERROR_LEVEL: logging.ERROR, 4: logging.DEBUG}
"""llama.cpp's log levels in ours; what it calls information is a page per load."""


class NativeLog:
    """Passes llama.cpp's log on, and remembers its last error line, so that an exception can quote it."""

    def __init__(self) -> None:
        self.last_error = ""

    def __call__(self, level: int, text: bytes, user_data: object) -> None:
        """Called by llama.cpp, from any thread; an exception here would be printed and lost."""
        line = text.decode("utf-8", "replace").strip()
        if not line:
            return
        if level == ERROR_LEVEL:
            self.last_error = line
        logger.log(LEVELS.get(level, logging.DEBUG), "%s", line)


log = NativeLog()
_kept_alive: list[Any] = []


@functools.cache
def load_library() -> Any:  # noqa: ANN401 - a module of ctypes functions without type stubs
    """Import and initialise llama.cpp; later calls return the same module."""
    # Spinning worker threads make everything else on a small machine wait; a failed native assertion would fork a
    # debugger. Both are read only once, before the library is there.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")
    import llama_cpp.llama_cpp as library

    callback = library.llama_log_callback(log)
    _kept_alive.append(callback)
    library.llama_log_set(callback, ctypes.c_void_p(0))
    library.llama_backend_init()
    return library


def library_version() -> str:
    """The version of llama.cpp that is installed."""
    return metadata.version("llama-cpp-python")


def default_threads() -> int:
    """Physical cores less one, at least one: all of them are slower as soon as anything else runs."""
    logical = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Two logical cores per physical one is the rule where there are more than a few.
    physical = logical // 2 if logical > 4 else logical
    return max(1, physical - 1)
