"""Long-term memory for assistants, on the user's own machine: two small agents, one SQLite file, no network.

The names are loaded when they are first used, so importing this package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memr1_lite.answer_agent import AnswerAgent
    from memr1_lite.bank import MemoryBank
    from memr1_lite.config import Agents, BankConfig
    from memr1_lite.embedders import LexicalEmbedder
    from memr1_lite.errors import (
        CallCancelledError,
        ChangeNotFoundError,
        ClosedError,
        ContextOverflowError,
        ConversationFormatError,
        DeadlineError,
        EmbedderMismatchError,
        EngineCrashedError,
        InvalidInputError,
        MalformedOutputError,
        MemoryNotFoundError,
        MemR1Error,
        MissingExtraError,
        ModelError,
        ModelLoadError,
        NotABankError,
        SchemaTooNewError,
        StaleDecisionError,
        StoreError,
        UndoConflictError,
        VectorIndexError,
    )
    from memr1_lite.llm import Embedder, LanguageModel
    from memr1_lite.memory_manager import MemoryManager
    from memr1_lite.records import Answer, AppliedOperation, Candidate, Change, Difference, Memory, Message

__version__ = "0.1.0"

_MODULES = {
    "answer_agent": ["AnswerAgent"],
    "bank": ["MemoryBank"],
    "config": ["Agents", "BankConfig"],
    "embedders": ["LexicalEmbedder"],
    "errors": [
        "CallCancelledError",
        "ChangeNotFoundError",
        "ClosedError",
        "ContextOverflowError",
        "ConversationFormatError",
        "DeadlineError",
        "EmbedderMismatchError",
        "EngineCrashedError",
        "InvalidInputError",
        "MalformedOutputError",
        "MemR1Error",
        "MemoryNotFoundError",
        "MissingExtraError",
        "ModelError",
        "ModelLoadError",
        "NotABankError",
        "SchemaTooNewError",
        "StaleDecisionError",
        "StoreError",
        "UndoConflictError",
        "VectorIndexError",
    ],
    "llm": ["Embedder", "LanguageModel"],
    "memory_manager": ["MemoryManager"],
    "records": ["Answer", "AppliedOperation", "Candidate", "Change", "Difference", "Memory", "Message"],
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Agents",
    "Answer",
    "AnswerAgent",
    "AppliedOperation",
    "BankConfig",
    "CallCancelledError",
    "Candidate",
    "Change",
    "ChangeNotFoundError",
    "ClosedError",
    "ContextOverflowError",
    "ConversationFormatError",
    "DeadlineError",
    "Difference",
    "Embedder",
    "EmbedderMismatchError",
    "EngineCrashedError",
    "InvalidInputError",
    "LanguageModel",
    "LexicalEmbedder",
    "MalformedOutputError",
    "MemR1Error",
    "Memory",
    "MemoryBank",
    "MemoryManager",
    "MemoryNotFoundError",
    "Message",
    "MissingExtraError",
    "ModelError",
    "ModelLoadError",
    "NotABankError",
    "SchemaTooNewError",
    "StaleDecisionError",
    "StoreError",
    "UndoConflictError",
    "VectorIndexError",
]


def __getattr__(name: str) -> object:
    """Load a public name from the module where it lives."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    """The public names, for interactive use."""
    return [*__all__, "__version__"]
