"""Long work that calls wait for, in a thread of its own: each waits as long as it may, and the work is done once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait

from memr1_lite.control import Calls, begin, current_call
from memr1_lite.errors import CallCancelledError, DeadlineError


class Apart:
    """Work by name. A call whose deadline passes leaves it, and it goes on: where no call allows as long as it takes,
    it would never be done. A call that is cancelled ends it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._under_way: dict[str, Future[None]] = {}
        self._calls = Calls()

    def run(self, what: str, work: Callable[[], None]) -> bool:
        """Wait until ``work`` is done, begun now or by another call; False where that other call's end was its end.

        Where no thread can be had, the work is done in this one. Whatever it raises is raised here.

        :param work: looks at :func:`~memr1_lite.control.current_call` whether it must end
        :raises CallCancelledError: this call was cancelled meanwhile
        :raises DeadlineError: its deadline passed
        """
        call = current_call()
        call.check()
        done = self._begun(what, work)
        if done is None:
            work()
            return True
        try:
            while not wait([done], call.next_look).done:
                call.check()
        except DeadlineError:
            raise
        except BaseException:  # Ctrl-C too
            self.cancel()
            raise
        try:
            done.result()
        except CallCancelledError:
            call.check()
            return False
        return True

    def cancel(self) -> None:
        """End what is under way."""
        self._calls.cancel()

    def _begun(self, what: str, work: Callable[[], None]) -> Future[None] | None:
        with self._lock:
            done = self._under_way.get(what)
            if done is None or done.done():
                done = Future()
                # No daemon: where an interpreter ends under native code that calls it back, it ends by a signal.
                if not begin(threading.Thread(target=self._do, args=(work, done), name=self._name)):
                    return None
                self._under_way[what] = done
            return done

    def _do(self, work: Callable[[], None], done: Future[None]) -> None:
        try:
            with self._calls.limited(None):
                work()
        except BaseException as error:  # noqa: BLE001 - who waits raises it
            done.set_exception(error)
        else:
            done.set_result(None)
