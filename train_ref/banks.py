"""A bank as a value: what a Manager's operations make of it, by the rules of the real store, without a database.

Every completion of a group begins at the same bank, and many end at the same one: as values they can be compared,
kept as keys, and thrown away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from memr1_lite.embedders import LexicalEmbedder
from memr1_lite.errors import InvalidInputError, MemoryNotFoundError, StaleDecisionError
from memr1_lite.records import Add, Candidate, Delete, Memory, Message, Noop, Operation, Update

_EMBEDDER = LexicalEmbedder()


@dataclass(frozen=True)
class Bank:
    """``memories`` by id; ``next_id`` has never been given to any."""

    memories: tuple[Memory, ...] = ()
    next_id: int = 1

    def after(self, operations: Sequence[Operation], message: Message) -> Bank:
        """The bank once a decision about ``message`` is carried out: all of it, or none.

        :raises InvalidInputError: no operation at all, two on one memory, or a blank text
        :raises MemoryNotFoundError: an operation names a memory that is not there
        :raises StaleDecisionError: it names another version than there is
        """
        named = [o.memory_id for o in operations if isinstance(o, Update | Delete)]
        if not operations or len(set(named)) < len(named):
            raise InvalidInputError("A decision is at least one operation, and at most one for each memory.")
        if any(not o.text.strip() for o in operations if isinstance(o, Add | Update)):
            raise InvalidInputError("A memory's text cannot be blank.")
        memories, next_id = {memory.id: memory for memory in self.memories}, self.next_id
        for operation in operations:
            match operation:
                case Noop():
                    pass
                case Add(text=text):
                    memories[next_id] = Memory(id=next_id, text=text, message_id=message.id, at=message.at)
                    next_id += 1
                case Update(memory_id=memory_id, version=version, text=text):
                    seen = _seen(memories, memory_id, version)
                    memories[memory_id] = seen.model_copy(
                        update={"text": text, "version": version + 1, "message_id": message.id, "at": message.at}
                    )
                case Delete(memory_id=memory_id, version=version):
                    _seen(memories, memory_id, version)
                    del memories[memory_id]
        return replace(self, memories=tuple(memories[key] for key in sorted(memories)), next_id=next_id)

    def nearest(self, text: str, k: int) -> list[Memory]:
        """At most ``k`` memories most like ``text``, best first, as the store's vectors order them."""
        if not self.memories:
            return []
        cosines = np.stack([vector(memory.text) for memory in self.memories]) @ vector(text)
        order = sorted(range(len(self.memories)), key=lambda place: (-cosines[place], self.memories[place].id))
        return [self.memories[place] for place in order[:k]]

    def candidates(self, question: str, k: int) -> tuple[Candidate, ...]:
        """What an Answer Agent is shown: memories alone, as in the paper. A turn in view would hide a bad decision."""
        return tuple(
            Candidate(kind="memory", id=memory.id, text=memory.text, at=memory.at)
            for memory in self.nearest(question, k)
        )


def _seen(memories: dict[int, Memory], memory_id: int, version: int) -> Memory:
    if memory_id not in memories:
        raise MemoryNotFoundError(memory_id)
    if memories[memory_id].version != version:
        raise StaleDecisionError(memory_id)
    return memories[memory_id]


@lru_cache(maxsize=50_000)
def vector(text: str) -> npt.NDArray[np.float32]:
    """The lexical vector of a text."""
    return _EMBEDDER.embed([text])[0]
