"""A call under way: when it must end, who may stop it, and who hears its text.

It reaches the engine through a context variable. So a model of somebody else needs no parameter for it, and works on
where it knows nothing of it; one that wants to obey asks :func:`current_call`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from numbers import Real
from typing import Protocol

from memr1_lite.errors import CallCancelledError, DeadlineError, InvalidInputError, ModelError

WAIT_SECONDS = 0.02
"""How long a call that waits for another one goes without looking whether it was stopped."""


NO_THREAD = "the system gives this process no more threads; end some, or raise the limit."


class Lock(Protocol):
    """A lock of :mod:`threading`."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it."""

    def release(self) -> None:
        """Give it back."""


class Call:
    """One call. Any thread may :meth:`cancel` it.

    :param deadline: seconds from now; None is no deadline
    :param listen: is told free text as it comes
    :raises InvalidInputError: a deadline that is no number of seconds
    """

    def __init__(self, deadline: float | None = None, listen: Callable[[str], None] | None = None) -> None:
        if deadline is not None and not (isinstance(deadline, Real) and 0 <= deadline <= threading.TIMEOUT_MAX):
            raise InvalidInputError(f"deadline={deadline!r:.60} is no time from now: give seconds, or None.")
        self.listen = listen
        self._deadline = deadline
        self._end = None if deadline is None else time.monotonic() + deadline
        self._cancelled = False
        self._stop: Callable[[], None] | None = None
        self._lock = threading.Lock()

    @property
    def seconds_left(self) -> float | None:
        """Until the deadline, at least 0; None where there is none."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    @property
    def next_look(self) -> float:
        """Seconds that it may wait before it looks again whether it must end."""
        left = self.seconds_left
        return WAIT_SECONDS if left is None else min(WAIT_SECONDS, left)

    def cancel(self) -> None:
        """Stop the call as soon as possible; it raises :class:`~memr1_lite.errors.CallCancelledError`."""
        with self._lock:
            self._cancelled = True
            if self._stop is not None:
                self._stop()

    def check(self) -> None:
        """Return where the call may go on.

        :raises CallCancelledError: it was cancelled
        :raises DeadlineError: its deadline has passed
        """
        if self._cancelled:
            raise CallCancelledError("The call was cancelled.")
        if self._end is not None and time.monotonic() >= self._end:
            raise DeadlineError(f"The call did not end within {self._deadline} seconds: allow more, or show it less.")

    @contextmanager
    def holding(self, lock: Lock) -> Iterator[None]:
        """Hold ``lock``, if it comes in time.

        :raises CallCancelledError: cancelled while it waited
        :raises DeadlineError: the deadline passed while it waited
        """
        self.check()
        while not lock.acquire(timeout=self.next_look):
            self.check()
        try:
            self.check()
            yield
        finally:
            lock.release()

    @contextmanager
    def stopping(self, stop: Callable[[], None]) -> Iterator[None]:
        """Call ``stop``, from another thread, when the call must end while the block runs.

        :raises ModelError: no thread can be had to watch the deadline
        """
        with self._lock:
            self._stop = stop
            if self._cancelled:
                stop()
        left = self.seconds_left
        timer = None if left is None else threading.Timer(left, self._expire)
        try:
            if timer is not None:
                timer.daemon = True
                if not begin(timer):
                    raise ModelError(f"A deadline of {self._deadline} seconds cannot be watched: {NO_THREAD}")
            yield
        finally:
            if timer is not None:
                timer.cancel()
            with self._lock:
                self._stop = None

    def _expire(self) -> None:
        with self._lock:
            if self._stop is not None:
                self._stop()


def begin(thread: threading.Thread) -> bool:
    """Start ``thread``; False where the system gives no more threads, and nothing has begun."""
    try:
        thread.start()
    except RuntimeError:
        return False
    return True


_UNLIMITED = Call()
_current: ContextVar[Call] = ContextVar("memr1_lite_call", default=_UNLIMITED)


def current_call() -> Call:
    """The call that this code runs for; one without limits where nobody said."""
    return _current.get()


class Calls:
    """The calls under way, so that all of them can be cancelled."""

    def __init__(self) -> None:
        self._calls: set[Call] = set()
        self._lock = threading.Lock()

    def under(self, call: Call) -> AbstractContextManager[Call]:
        """Run a block for ``call``."""
        return self._under(call)

    def limited(self, deadline: float | None) -> AbstractContextManager[Call]:
        """Run a block with a deadline of its own, in seconds from now."""
        return self._under(Call(deadline))

    def cancel(self) -> None:
        """Cancel every call under way; later ones are not touched."""
        with self._lock:
            calls = list(self._calls)
        for call in calls:
            call.cancel()

    @contextmanager
    def _under(self, call: Call) -> Iterator[Call]:
        with self._lock:
            self._calls.add(call)
        token = _current.set(call)
        try:
            yield call
        finally:
            _current.reset(token)
            with self._lock:
                self._calls.discard(call)
