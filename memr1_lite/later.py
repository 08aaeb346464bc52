"""Deciding in the background: the pending turns of a bank are its queue, so a crash loses nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from memr1_lite.control import NO_THREAD, Calls, begin
from memr1_lite.errors import CallCancelledError, ClosedError, MemR1Error, ModelError, ModelLoadError
from memr1_lite.records import Change, Message

RECHECK_SECONDS = 5.0
"""How long the worker rests before it looks again whether the machine has time for it."""
Progress = Callable[[int, int], None]
"""Is told how many turns were decided about since, and how many are left."""
CLOSED = "The bank was closed meanwhile: open it again, and decide about the turns that are still pending."


class Later:
    """One worker thread, started when it is first needed. It gives way to questions between two decisions.

    :param pending: the turns to decide about, in order
    :param decide: decides about one
    :param rests: whether to wait before the next decision, asked again every ``recheck`` seconds; :meth:`flush` does
        not wait
    """

    def __init__(
        self,
        pending: Callable[[], Sequence[Message]],
        decide: Callable[[Message], Change],
        rests: Callable[[], bool] = lambda: False,
        recheck: float = RECHECK_SECONDS,
    ) -> None:
        self._pending = pending
        self._decide = decide
        self._rests, self._recheck = rests, recheck
        self._state = threading.Condition()
        self._thread: threading.Thread | None = None
        self._work = self._closed = False
        self._wakes = self._questions = self._flushing = self._decided = self._left = 0
        self._calls = Calls()
        self._failed: dict[int, MemR1Error] = {}
        """Turns that the model could not decide about, which stay pending; they are tried again after a restart."""
        self._error: Exception | None = None
        """Why the worker rests though there is work."""

    def wake(self) -> None:
        """There is work."""
        with self._state:
            self._work, self._error = True, ClosedError(CLOSED) if self._closed else None
            self._wakes += 1
            if not self._closed and (self._thread is None or not self._thread.is_alive()):
                self._thread = threading.Thread(target=self._run, name="memr1-later", daemon=True)
                if not begin(self._thread):
                    self._thread = None
                    self._work, self._error = False, ModelError(f"Nothing is decided in the background: {NO_THREAD}")
            self._state.notify_all()

    def flush(self, progress: Progress | None = None) -> int:
        """Wait until every pending turn was decided about; returns how many were meanwhile.

        :raises ModelError: the first failure; the turns that failed are still pending
        :raises StoreError: the file cannot be written; the rest is still pending
        :raises ClosedError: the bank was closed meanwhile; the rest is still pending
        :raises Exception: an agent of the caller's own failed with it
        """
        with self._state:
            self._failed.clear()
            self._flushing += 1
        try:
            return self._flush(progress)
        finally:
            with self._state:
                self._flushing -= 1

    def _flush(self, progress: Progress | None) -> int:
        with self._state:
            began = told = self._decided
            said = (0, -1)
        self.wake()
        while True:
            with self._state:
                while self._work and self._error is None and (progress is None or self._decided == told):
                    self._state.wait()
                told, left = self._decided, self._left
                error = self._error or next(iter(self._failed.values()), None)
                over = not self._work or self._error is not None
            if progress is not None and told > began and (told - began, left) != said:
                said = (told - began, left)
                progress(*said)  # without the lock: it may take its time
            if over:
                break
        if error is not None:
            raise error
        return told - began

    def cancel(self) -> None:
        """Stop the decision under way, whose turn stays pending; the worker rests until it is woken again."""
        self._calls.cancel()

    @contextmanager
    def giving_way(self) -> Iterator[None]:
        """While the block runs, no new decision begins."""
        with self._state:
            self._questions += 1
        try:
            yield
        finally:
            with self._state:
                self._questions -= 1
                self._state.notify_all()

    def stop(self) -> None:
        """End the worker; the decision under way is cancelled, and its turn stays pending."""
        with self._state:
            self._closed = True
            self._state.notify_all()
        while self._thread is not None and self._thread.is_alive():
            self._calls.cancel()
            self._thread.join(timeout=0.05)
        with self._state:
            if self._work and self._error is None:  # whoever waits for the worker would wait for ever
                self._error = ClosedError(CLOSED)
                self._state.notify_all()

    def _run(self) -> None:
        try:
            while self._wait():
                self._decide_all()
        except Exception as error:  # of an agent that the caller wrote: flush() raises it, and Python shows it
            with self._state:
                self._work, self._error, self._thread = False, error, None
                self._state.notify_all()
            raise

    def _wait(self) -> bool:
        """Wait for work, for the end of all questions and for a machine with time; False when there will be none."""
        with self._state:
            while not self._closed:
                if not self._work or self._questions or self._error is not None:
                    self._state.wait()
                elif not self._flushing and self._rests():
                    self._state.wait(timeout=self._recheck)
                else:
                    return True
            return False

    def _decide_all(self) -> None:
        with self._state:
            wakes = self._wakes
        try:
            messages = [message for message in self._pending() if message.id not in self._failed]
            for left, message in zip(range(len(messages) - 1, -1, -1), messages, strict=True):
                if not self._wait():
                    return
                self._decide_one(message, left)
        except MemR1Error as error:  # the file, the model file, or somebody's wish: no turn's own fault
            with self._state:
                self._error = error
                self._state.notify_all()
            return
        with self._state:
            if not messages and wakes == self._wakes:
                self._work = False
                self._state.notify_all()

    def _decide_one(self, message: Message, left: int) -> None:
        try:
            with self._calls.limited(None):
                self._decide(message)
        except (ModelLoadError, CallCancelledError):
            raise
        except ModelError as error:
            self._failed[message.id] = error
        with self._state:
            self._decided += message.id not in self._failed
            self._left = left
            self._state.notify_all()
