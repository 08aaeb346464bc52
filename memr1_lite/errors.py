"""Every failure of this package is one of these, and each message says what, which one, and what to do.

MemR1Error
├── InvalidInputError          a bad argument of the caller: text, date, speaker, number (also a ValueError)
├── ConversationFormatError    a file to import is not of the shape it should have
├── ModelError                 the language model's side
│   ├── ModelLoadError         no such file, not a GGUF, no tokenizer, wrong role
│   ├── ContextOverflowError   the prompt does not fit: .needed and .available tokens
│   ├── MalformedOutputError   what the model said cannot be used: .raw
│   ├── EngineCrashedError     the process that ran llama.cpp died; the next call starts another
│   ├── CallCancelledError     somebody called cancel()
│   └── DeadlineError          the call's deadline passed
├── StoreError                 the database's side
│   ├── NotABankError          a SQLite file of somebody else, or no SQLite file at all
│   ├── SchemaTooNewError      written by a newer memr1_lite: .found, .supported
│   ├── MemoryNotFoundError    .memory_id
│   ├── ChangeNotFoundError    .change_id
│   ├── StaleDecisionError     a memory changed while the model thought: .memory_id
│   ├── UndoConflictError      later changes build on it: .change_id, .memory_ids, .later
│   └── EmbedderMismatchError  vectors of another embedder: .expected, .found
├── ClosedError                a bank or model was used after close()
├── VectorIndexError           wrong dimension or a vector that is not finite
└── MissingExtraError          an optional part is not installed: .extra (also an ImportError)
"""

from __future__ import annotations

from collections.abc import Sequence


class MemR1Error(Exception):
    """Base of every error that this package raises on purpose."""


class InvalidInputError(MemR1Error, ValueError):
    """An argument cannot be used as it is."""


class ConversationFormatError(MemR1Error):
    """A file to import does not have the shape that its format asks for."""


class ModelError(MemR1Error):
    """Something about a language model."""


class ModelLoadError(ModelError):
    """A model file is missing, damaged, or not made for this role."""


class ContextOverflowError(ModelError):
    """The prompt and the room for its answer do not fit into the model's context.

    :param needed: tokens of the prompt plus the longest output
    :param available: tokens that the context holds
    """

    def __init__(self, needed: int, available: int, hint: str = "show fewer candidates or a shorter text") -> None:
        super().__init__(f"The prompt needs {needed} tokens and the model's context holds {available}: {hint}.")
        self.needed = needed
        self.available = available


class MalformedOutputError(ModelError):
    """The model's output cannot be used; nothing was changed.

    :param raw: what the model said
    """

    def __init__(self, message: str, raw: str) -> None:
        super().__init__(f"{message} The model said: {raw!r}")
        self.raw = raw


class EngineCrashedError(ModelError):
    """The process that ran llama.cpp died, and this one did not; the next call starts another."""


class CallCancelledError(ModelError):
    """The call was stopped by ``cancel()``; nothing was changed."""


class DeadlineError(ModelError):
    """The call's deadline passed; nothing was changed."""


class ClosedError(MemR1Error):
    """A bank or model was used after it had been closed: a mistake of the program, and no failure of a model."""


class StoreError(MemR1Error):
    """Something about the SQLite file."""


class NotABankError(StoreError):
    """The file is not a memory bank, and was not touched."""


class SchemaTooNewError(StoreError):
    """The file was written by a newer version of this package, and was not touched."""

    def __init__(self, path: str, found: int, supported: int) -> None:
        super().__init__(
            f"{path!r} has schema version {found}; this memr1_lite reads up to {supported}: upgrade memr1-lite."
        )
        self.found = found
        self.supported = supported


class MemoryNotFoundError(StoreError):
    """No live memory has this id."""

    def __init__(self, memory_id: int) -> None:
        super().__init__(f"No memory has the id {memory_id}: it never existed, or was deleted or purged.")
        self.memory_id = memory_id


class ChangeNotFoundError(StoreError):
    """No change has this id."""

    def __init__(self, change_id: int) -> None:
        super().__init__(f"No change has the id {change_id}: see history() for those there are.")
        self.change_id = change_id


class StaleDecisionError(StoreError):
    """A memory changed between the moment an agent saw it and the moment its decision was to be applied."""

    def __init__(self, memory_id: int) -> None:
        super().__init__(f"Memory {memory_id} changed while the agent was deciding: decide again on its new text.")
        self.memory_id = memory_id


class UndoConflictError(StoreError):
    """A change cannot be taken back: it was already, later changes build on it, or its words were purged.

    :param memory_ids: the memories that it is about
    :param later: the changes to undo first, the latest first; empty where none can help
    """

    def __init__(self, change_id: int, memory_ids: Sequence[int], why: str, later: Sequence[int] = ()) -> None:
        super().__init__(f"Change {change_id} cannot be undone: {why}.")
        self.change_id = change_id
        self.memory_ids = tuple(memory_ids)
        self.later = tuple(later)


class EmbedderMismatchError(StoreError):
    """The bank's vectors were made by another embedder; mixing them would answer nonsense."""

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(
            f"This bank's vectors were made by the embedder {expected!r}, not {found!r}: give that one as embedder="
            " (`make embedder` builds all-MiniLM-L6-v2), or move the bank with `memr1 reembed`."
        )
        self.expected = expected
        self.found = found


class VectorIndexError(MemR1Error):
    """A vector has the wrong dimension or values that are not finite."""


class MissingExtraError(MemR1Error, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, extra: str, package: str) -> None:
        super().__init__(f"{package} is not installed. Install it with: pip install 'memr1-lite[{extra}]'")
        self.extra = extra
