"""The shared library: loaded once, with its log sent to Python's logging."""

from __future__ import annotations

import ctypes
import functools
import logging
import os
from importlib import metadata
from typing import Any

from memr1_lite.errors import ModelError
from memr1_lite.machine import physical_cores

logger = logging.getLogger("memr1_lite.llama")
logger.addHandler(logging.NullHandler())

ERROR_LEVEL = 4
LEVELS = {3: logging.INFO, ERROR_LEVEL: logging.ERROR}
"""llama.cpp's log levels (``ggml_log_level``) in ours, DEBUG for the rest: what it calls information is a page per
load, and it warns of every context that is shorter than the one trained on."""


class NativeLog:
    """Passes llama.cpp's log on, and remembers an error, so that an exception can quote it.

    ``error`` is the first line since it was emptied: it names the cause, the lines after it say that all has failed.
    """

    def __init__(self) -> None:
        self.error = ""

    def __call__(self, level: int, text: bytes, user_data: object) -> None:
        """Called by llama.cpp, from any thread; an exception here would be printed and lost."""
        line = text.decode("utf-8", "replace").strip()
        if not line:
            return
        if level == ERROR_LEVEL and not self.error:
            self.error = line
        logger.log(LEVELS.get(level, logging.DEBUG), "%s", line)


log = NativeLog()
_kept_alive: list[Any] = []
_loaded_in: list[int] = []
"""The process that loaded the library, once there is one."""


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
    _loaded_in.append(os.getpid())
    return library


def library_version() -> str:
    """The version of llama.cpp that is installed."""
    return metadata.version("llama-cpp-python")


def usable_threads(asked: int | None) -> int:
    """The number of threads to evaluate with: what was asked for, else :func:`default_threads`.

    One in a process that was forked after the library was loaded: OpenMP would wait for threads that only the parent
    has, and for ever.
    """
    if _loaded_in and _loaded_in[0] != os.getpid():
        if asked is not None and asked > 1:
            logger.warning("This process was forked after llama.cpp was loaded: one thread is used, not %d.", asked)
        return 1
    return default_threads() if asked is None else asked


def refuse_forked(owner: int, path: str) -> None:
    """Refuse what another process loaded.

    :param owner: the process that loaded ``path``
    :raises ModelError: it is not this one
    """
    if os.getpid() != owner:
        raise ModelError(
            f"The model {path!r} was loaded before this process was forked: load it in the child,"
            " or start processes with 'spawn'."
        )


def default_threads() -> int:
    """Physical cores less one, at least one: all of them are slower as soon as anything else runs."""
    return max(1, physical_cores() - 1)
