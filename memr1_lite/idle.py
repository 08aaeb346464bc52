"""What was loaded and is not used is given back after a while."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from memr1_lite.control import begin


class Idle:
    """Calls ``free`` once nobody has used for ``seconds`` what it frees; from a thread that ends with that.

    :param seconds: None never frees
    :param free: is called while nobody is inside :meth:`in_use`, and nobody can come in
    """

    def __init__(self, seconds: float | None, free: Callable[[], None]) -> None:
        self._seconds = seconds
        self._free = free
        self._state = threading.Condition()
        self._users, self._last_use = 0, time.monotonic()
        self._janitor: threading.Thread | None = None
        self._closed = False

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """While the block runs, nothing is given back."""
        with self._state:
            self._users += 1
        try:
            yield
        finally:
            with self._state:
                self._users, self._last_use = self._users - 1, time.monotonic()
                self._state.notify_all()

    def watch(self) -> None:
        """Something was loaded, by who is inside :meth:`in_use`."""
        with self._state:
            if self._janitor is None and self._seconds is not None:
                self._janitor = threading.Thread(target=self._watch, name="memr1-idle", daemon=True)
                if not begin(self._janitor):  # the next one that is loaded tries again
                    self._janitor = None

    def close(self) -> None:
        """Watch no longer; twice is fine."""
        with self._state:
            self._closed = True
            self._state.notify_all()

    def _watch(self) -> None:
        owner = os.getpid()
        assert self._seconds is not None
        with self._state:
            while not self._closed:
                left = self._last_use + self._seconds - time.monotonic()
                if self._users == 0 and left <= 0:
                    break
                self._state.wait(timeout=None if self._users else left)
            if not self._closed and os.getpid() == owner:
                self._free()
            self._janitor = None
