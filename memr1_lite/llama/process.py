"""A model in a process of its own: where llama.cpp dies on a hostile file, this process lives and gets an error."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from memr1_lite import errors
from memr1_lite.control import Call, begin, current_call
from memr1_lite.errors import ClosedError, EngineCrashedError, MemR1Error, ModelLoadError
from memr1_lite.llama.library import refuse_forked
from memr1_lite.llama.settings import LoadSettings, check_settings
from memr1_lite.llama.worker import written_step
from memr1_lite.llm import Completion, OutputTemplate, Sampling, Segment

if TYPE_CHECKING:
    from typing_extensions import Unpack

START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from memr1_lite.llama.worker import main; main()"
GRACE_SECONDS = 1.0
"""How long a stopped call may take to end before its process is killed."""
LAST_WORDS = 300
"""Bytes of a dead process's standard error that its epitaph quotes."""


class ProcessModel:
    """A :class:`~memr1_lite.llm.LanguageModel` like :class:`~memr1_lite.llama.model.LlamaModel`, in a child process.

    The child is another Python (``sys.executable``), started anew, that inherits nothing of this process and dies with
    it. After a crash the next call starts another.
    """

    name: str
    trained_role: str | None
    prompt_version: str | None
    context: int

    def __init__(self, path: Path, settings: LoadSettings) -> None:
        """Start the child; :meth:`load` is the way in."""
        self._path, adapter = str(path), settings.get("adapter")
        self._files = repr(self._path) if adapter is None else f"{self._path!r} with {str(adapter)!r}"
        written = {name: str(value) if isinstance(value, Path) else value for name, value in settings.items()}
        self._request = {"path": self._path, **written}
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._child: _Child | None = None
        self._closed = False
        with self._lock:
            self._start()

    @classmethod
    def load(cls, path: str | Path, **settings: Unpack[LoadSettings]) -> ProcessModel:
        """Load a GGUF file in a child process.

        :param settings: :class:`~memr1_lite.llama.settings.LoadSettings` names them
        :raises InvalidInputError: a context or a number of threads that is too small
        :raises ModelLoadError: the file is missing, damaged, not made for this, or deadly
        """
        check_settings(**settings)
        return cls(Path(path), settings)

    def complete(
        self, prompt: Sequence[Segment], template: OutputTemplate, sampling: Sampling | None = None
    ) -> Completion:
        """Complete ``prompt`` under ``template``, as :meth:`LlamaModel.complete` does and with its errors.

        :raises EngineCrashedError: the child died; the next call starts another
        """
        drawn = None if sampling is None else [sampling.seed, sampling.temperature]
        return self._call({"template": True, "sampling": drawn}, prompt, template)

    def prepare(self, prompt: Sequence[Segment]) -> None:
        """Evaluate the fixed beginning of ``prompt``, as :meth:`LlamaModel.prepare` does."""
        self._call({"template": False, "sampling": None}, prompt, None)

    @property
    def ready(self) -> bool:
        """Whether there is a child: one that died, or was stopped before it was ready, is started at the next call."""
        return self._child is not None

    def start(self) -> None:
        """Have a child.

        :raises ModelLoadError: it cannot load the file again
        :raises ClosedError: the model was closed
        """
        refuse_forked(self._owner, self._path)
        with current_call().holding(self._lock):
            self._usable()

    def close(self) -> None:
        """End the child; twice is fine. Waits for a call that is running. A fork leaves it to its parent."""
        if os.getpid() != self._owner:
            return
        with self._lock:
            self._closed = True
            if self._child is not None:
                self._child.end()
                self._child = None

    def __enter__(self) -> ProcessModel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, request: dict[str, Any], prompt: Sequence[Segment], template: OutputTemplate | None) -> Completion:
        call = current_call()
        request |= {
            "prompt": [[segment.text, segment.trusted] for segment in prompt],
            "listen": call.listen is not None,
        }
        refuse_forked(self._owner, self._path)  # before the lock: a thread that is not in the child may have held it
        with call.holding(self._lock):
            child = self._usable()
            try:
                completion = self._converse(child, call, request, template)
            except MemR1Error as error:
                if isinstance(error, EngineCrashedError):
                    self._child = None
                call.check()  # where it was stopped, that is why
                raise
            except BaseException:  # Ctrl-C in the middle of a conversation: no reply of it may reach the next call
                child.end(kill=True)
                self._child = None
                raise
        return completion

    def _usable(self) -> _Child:
        if self._closed:
            raise ClosedError(f"The model {self._path!r} is closed: load it again.")
        if self._child is None:
            self._start()
        assert self._child is not None
        return self._child

    def _start(self) -> None:
        child = _Child(self._files)
        call = current_call()
        try:
            with call.stopping(child.kill):
                child.send(self._request)
                ready = child.receive()
        except EngineCrashedError as error:
            call.check()
            raise ModelLoadError(f"{self._files} cannot be loaded: {error}") from error
        except BaseException:
            child.end(kill=True)
            raise
        if "error" in ready:
            child.end()
            raise _read_error(ready)
        self.name, self.context = ready["name"], ready["context"]
        self.trained_role, self.prompt_version = ready["trained_role"], ready["prompt_version"]
        self._child = child

    def _converse(
        self, child: _Child, call: Call, request: dict[str, Any], template: OutputTemplate | None
    ) -> Completion:
        child.send(request)
        child.receive()  # it has begun, and can be cancelled
        try:
            with call.stopping(child.cancel):
                while True:
                    line = child.receive()
                    if "text" in line and call.listen is not None:
                        call.listen(line["text"])
                    elif "values" in line and template is not None:
                        child.send({"step": self._next_step(child, template, line["values"])})
                    elif "completion" in line:
                        values, confidences, *counts = line["completion"]
                        return Completion(tuple(values), tuple(confidences), *counts)
                    elif "error" in line:
                        raise _read_error(line)
        finally:
            child.relax()

    def _next_step(self, child: _Child, template: OutputTemplate, values: list[str]) -> list[Any] | None:
        try:
            return written_step(template.next_step(tuple(values)))
        except BaseException:  # the child waits for a step that will not come
            child.end(kill=True)
            self._child = None
            raise


class _Child:
    """The child process and its two pipes."""

    def __init__(self, files: str) -> None:
        self._files = files
        program = sys.executable or ""
        try:
            with contextlib.ExitStack() as on_failure:
                self._words: IO[bytes] = on_failure.enter_context(tempfile.TemporaryFile())
                self._process = subprocess.Popen(
                    [program, "-c", START, json.dumps(sys.path)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._words,
                    start_new_session=True,  # Ctrl-C is for the app, which then stops the call
                )
                on_failure.pop_all()
        except OSError as error:  # no such program, or no more processes, files or memory
            raise ModelLoadError(
                f"The process to run {files} cannot be started ({program!r}: {error.strerror}): free what is missing,"
                " or use engine='thread'."
            ) from error
        self._finalizer = weakref.finalize(self, _kill, self._process, os.getpid())
        self._sending = threading.Lock()
        self._patience: threading.Timer | None = None

    def send(self, line: dict[str, Any]) -> None:
        """Write one line.

        :raises EngineCrashedError: the child is dead
        """
        assert self._process.stdin is not None
        try:
            with self._sending:
                self._process.stdin.write(json.dumps(line).encode() + b"\n")
                self._process.stdin.flush()
        except (BrokenPipeError, ValueError) as error:
            raise self._epitaph() from error

    def receive(self) -> dict[str, Any]:
        """Read one line.

        :raises EngineCrashedError: the child is dead
        """
        assert self._process.stdout is not None
        data = self._process.stdout.readline()
        if not data.endswith(b"\n"):
            raise self._epitaph()
        line: dict[str, Any] = json.loads(data)
        return line

    def cancel(self) -> None:
        """Ask the child to stop its call; kill it where it does not listen."""
        if self._patience is None:
            self._patience = threading.Timer(GRACE_SECONDS, self.kill)
            self._patience.daemon = True
            if not begin(self._patience):
                self.kill()
        try:
            self.send({"cancel": True})
        except EngineCrashedError:
            return  # the call under way hears of it too

    def relax(self) -> None:
        """The call has ended."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def kill(self) -> None:
        """End the child at once, without waiting for it."""
        self._process.kill()

    def end(self, kill: bool = False) -> None:
        """End the child and wait for it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if kill:
            self._process.kill()
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._words.close()
        self._finalizer.detach()

    def _epitaph(self) -> EngineCrashedError:
        code = self._process.wait()
        self._words.seek(0, os.SEEK_END)
        self._words.seek(max(0, self._words.tell() - LAST_WORDS))
        words = self._words.read().decode("utf-8", "replace").strip()
        self.end()
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
        return EngineCrashedError(
            f"The process that ran {self._files} ended {how}: a file is damaged, or memory ran out."
            f" Its last words: {words or 'none'}"
        )


def _kill(process: subprocess.Popen[bytes], owner: int) -> None:
    """For a model that nobody closed; a forked copy of its owner leaves it alone."""
    if os.getpid() == owner:
        process.kill()
        process.wait()


def _read_error(line: dict[str, Any]) -> MemR1Error:
    kind = getattr(errors, line["error"])
    error: MemR1Error = kind.__new__(kind)
    error.args = (line["message"],)
    error.__dict__.update(line["details"])
    return error
