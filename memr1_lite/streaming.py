"""An answer as it comes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from types import TracebackType

from memr1_lite.control import NO_THREAD, Call, begin
from memr1_lite.errors import InvalidInputError, MemR1Error, ModelError
from memr1_lite.records import Answer


class AnswerStream:
    """Iterate for the pieces of the text, whole characters; joined they are ``answer.text``.

    Leaving the loop early, or :meth:`close`, cancels the call. A stream is read once.

    :param ask: answers under the call it is given
    """

    def __init__(self, ask: Callable[[Call], Answer], deadline: float | None) -> None:
        self._call = Call(deadline, listen=self._hear)
        self._pieces: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._blank = ""
        self._said = ""
        self._read = False
        self._answer: Answer | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(ask,), name="memr1-ask", daemon=True)
        if not begin(self._thread):
            raise ModelError(f"An answer cannot be streamed: {NO_THREAD}")

    @property
    def answer(self) -> Answer:
        """The whole answer; waits for its end.

        :raises MemR1Error: what :meth:`~memr1_lite.bank.MemoryBank.ask` raises
        """
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._answer is not None
        return self._answer

    def __iter__(self) -> Iterator[str]:
        """The pieces, as they come.

        :raises InvalidInputError: they were read already
        :raises MemR1Error: what :meth:`~memr1_lite.bank.MemoryBank.ask` raises
        """
        if self._read:
            raise InvalidInputError("A stream is read once: take its answer, or ask again.")
        self._read = True
        return self._iterate()

    def _iterate(self) -> Iterator[str]:
        try:
            while (piece := self._pieces.get()) is not None:
                yield piece
        finally:
            self.close()
        rest = self.answer.text[len(self._said) :]  # all of it, where nothing was heard: not known, or no GGUF agent
        if rest:
            yield rest

    def __enter__(self) -> AnswerStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cancel what is still under way, and wait for its end; twice is fine."""
        if self._thread.is_alive():
            self._call.cancel()
            self._thread.join()

    def _hear(self, text: str) -> None:
        """Pass ``text`` on without the blanks at either end of the whole."""
        whole = self._blank + text
        heard = whole.rstrip() if self._said else whole.strip()
        if not heard:
            self._blank = whole
            return
        self._blank = whole[len(whole.rstrip()) :]
        self._said += heard
        self._pieces.put(heard)

    def _run(self, ask: Callable[[Call], Answer]) -> None:
        try:
            self._answer = ask(self._call)
        except MemR1Error as error:
            self._error = error
        finally:
            if self._answer is None and self._error is None:
                self._error = RuntimeError("The thread that answered has died; its traceback is on standard error.")
            self._pieces.put(None)
