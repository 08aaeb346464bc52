"""A Memory Manager and an Answer Agent that are no GGUF file: here plain rules, in your app perhaps a remote model.

A class with ``decide`` or ``answer`` is enough. Whoever has another engine for a language model writes a class with the
methods of ``memr1_lite.LanguageModel`` instead, and gives ``MemoryManager(that)`` and ``AnswerAgent(that)``.
"""

from __future__ import annotations

from collections.abc import Sequence

from memr1_lite import Candidate, Memory, MemoryBank, Message
from memr1_lite.records import Add, Decision, Reply


class KeepEverything:
    """A Manager that writes down every message as it is."""

    def decide(self, message: Message, similar: Sequence[Memory]) -> Decision:
        """Add what was said."""
        return Decision(operations=(Add(op="ADD", text=f"{message.speaker} said: {message.text}"),), model="rules")


class QuoteBest:
    """An Answer Agent that quotes the best candidate."""

    def answer(self, question: str, candidates: Sequence[Candidate]) -> Reply:
        """Cite the first."""
        return Reply(text=candidates[0].text, known=True, cited=(0,), model="rules")


def main() -> None:
    """Remember two things and ask for one."""
    with MemoryBank.open(":memory:", memory_manager=KeepEverything(), answer_agent=QuoteBest()) as bank:
        bank.remember("I adopted a dog named Buddy.", speaker="Andrew")
        bank.remember("My sister lives in Seattle.", speaker="Andrew")
        print(bank.ask("Where does the sister live?").text)


if __name__ == "__main__":
    main()
