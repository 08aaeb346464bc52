"""Remember two things that belong together, and ask about them. Usage: remember_and_ask.py [andrew.db]"""

from __future__ import annotations

import sys

from memr1_lite import MemoryBank


def main(path: str = ":memory:") -> None:
    """Tell the bank about two dogs and ask how many there are."""
    with MemoryBank.open(path) as bank:
        bank.remember("I adopted a dog named Buddy.", speaker="Andrew", at="2023-05-07")
        change = bank.remember("I adopted another dog named Scout.", speaker="Andrew", at="2023-06-16")
        for operation in change.operations:
            print(operation)
        answer = bank.ask("How many dogs does Andrew have?")
        print(answer.text)
        for cited in answer.cited:
            print("  because:", cited.text)


if __name__ == "__main__":
    main(*sys.argv[1:])
