"""The Memory Manager: its prompt, its output template and its parser (Memory-R1, section 3.1; DESIGN of the agents).

The prompt lists the similar memories under small ordinals, then the message::

    [1] Andrew has a dog named Buddy.
    [2] Andrew lives in Lyon.
    Message: 16 June 2023 | Andrew: I adopted another dog named Scout.

The output is one operation per line, usually one line; NOOP stands alone::

    UPDATE[1] Andrew has two dogs, Buddy and Scout.

``train_ref`` imports these very functions, so training and inference cannot drift apart. A change to any of them is
a new :data:`PROMPT_VERSION`, and makes every trained agent useless.
"""

from __future__ import annotations

from collections.abc import Sequence

from memr1_lite.dates import resolved, written_date
from memr1_lite.errors import InvalidInputError
from memr1_lite.llm import END, MAX_SHOWN, Choice, FreeText, LanguageModel, Segment, Step, ordinal, sentence
from memr1_lite.records import Add, Decision, Delete, Memory, Message, Noop, Operation, Update

PROMPT_VERSION = "manager-1"
MAX_OPERATIONS = 4
"""A message that asks for more than this is not a message but a document."""
MAX_TEXT_TOKENS = 96

INSTRUCTIONS = """\
You keep the memories of a personal assistant. Below are the memories that exist, and a new message.
Write one operation per line and nothing else:
ADD a short sentence with a new fact.
UPDATE[n] a sentence that replaces memory n and keeps everything in it that is still true.
DELETE[n] if the message takes memory n back and nothing replaces it.
NOOP if there is nothing new to remember.
Name the person in every sentence. Write dates out."""
"""Shown only to models that were not trained for this role, and first: what stays the same is evaluated only once."""


def manager_prompt(message: Message, similar: Sequence[Memory], instructions: str | None = None) -> tuple[Segment, ...]:
    """The prompt for ``message`` with the memories most like it, best first."""
    if len(similar) > MAX_SHOWN:
        raise InvalidInputError(f"{len(similar)} memories cannot be shown at once: at most {MAX_SHOWN}.")
    prompt = [] if instructions is None else [Segment(instructions + "\n\n", trusted=True)]
    for position, memory in enumerate(similar):
        prompt += [Segment(ordinal(position), trusted=True), sentence(memory.text), Segment("\n", trusted=True)]
    prompt.append(Segment("Message:", trusted=True))
    prompt.append(sentence(f"{written_date(message.at)} | {message.speaker}: {resolved(message.text, message.at)}"))
    prompt.append(Segment("\n", trusted=True))
    return tuple(prompt)


class ManagerTemplate:
    """The shapes that a Manager's output can have when ``shown`` memories are in its prompt."""

    def __init__(self, shown: int) -> None:
        self._ordinals = tuple(ordinal(position) for position in range(shown))

    def next_step(self, values: Sequence[str]) -> Step | None:
        """Operation, its ordinal, its text, then the next operation or the end."""
        operations, named, pending = 0, set[str](), ""
        # Walked by position: free text may spell out anything, also the name of an operation.
        for value in values:
            if pending == "text":
                pending = ""
            elif pending:
                named.add(value)
                pending = "text" if pending == "UPDATE" else ""
            elif value in ("NOOP", END):
                return None
            else:
                operations += 1
                pending = "text" if value == "ADD" else value
        free = tuple(mark for mark in self._ordinals if mark not in named)
        if pending == "text":
            return FreeText(stop="\n", max_tokens=MAX_TEXT_TOKENS)
        if pending:
            return Choice(free)
        if operations == MAX_OPERATIONS:
            return Choice((END,))
        last = END if operations else "NOOP"
        return Choice(("ADD", "UPDATE", "DELETE", last) if free else ("ADD", last))


def written_operations(operations: Sequence[Operation], similar: Sequence[Memory]) -> tuple[str, ...]:
    """The values that say ``operations``: the inverse of :func:`parse_operations`, for training."""
    positions = {memory.id: position for position, memory in enumerate(similar)}
    values: list[str] = []
    for operation in operations:
        values.append(operation.op)
        if isinstance(operation, Update | Delete):
            values.append(ordinal(positions[operation.memory_id]))
        if isinstance(operation, Add | Update):
            values.append(" " + operation.text)
    return tuple(values) if values == ["NOOP"] else (*values, END)


def parse_operations(
    values: Sequence[str], similar: Sequence[Memory], confidences: Sequence[float] | None = None
) -> tuple[Operation, ...]:
    """The operations that ``values`` say, with ordinals turned into memory ids and the versions that were shown.

    :param confidences: the probability of each value; an operation's own is that of its name and its ordinal
    """
    shown = {ordinal(position): memory for position, memory in enumerate(similar)}
    operations: list[Operation] = []
    each: Sequence[float | None] = [None] * len(values) if confidences is None else confidences
    remaining = iter(zip(values, each, strict=True))
    for value, sure in remaining:
        if value == "ADD":
            text, _ = next(remaining)
            operations.append(Add(op="ADD", text=text.strip(), confidence=sure))
        elif value in ("UPDATE", "DELETE"):
            mark, named = next(remaining)
            memory, both = shown[mark], None if sure is None or named is None else sure * named
            if value == "DELETE":
                operations.append(Delete(op="DELETE", memory_id=memory.id, version=memory.version, confidence=both))
                continue
            text, _ = next(remaining)
            operations.append(
                Update(op="UPDATE", memory_id=memory.id, version=memory.version, text=text.strip(), confidence=both)
            )
        elif value == "NOOP":
            operations.append(Noop(op="NOOP", confidence=sure))
    return tuple(operations)


class MemoryManager:
    """Decides what a message means for the memories that it resembles. Data in, data out: it never sees the store."""

    def __init__(self, model: LanguageModel, instructions: str | None = None) -> None:
        self.model = model
        self.instructions = instructions

    def decide(self, message: Message, similar: Sequence[Memory]) -> Decision:
        """Choose the operations for ``message``, given the ``similar`` memories, best first.

        :raises ModelError: the model could not decide; a failure is never turned into NOOP
        """
        prompt = manager_prompt(message, similar, self.instructions)
        completion = self.model.complete(prompt, ManagerTemplate(len(similar)))
        return Decision(
            operations=parse_operations(completion.values, similar, completion.confidences),
            confidence=completion.confidences[0],
            model=self.model.name,
            prompt_tokens=completion.prompt_tokens,
            output_tokens=completion.output_tokens,
        )
