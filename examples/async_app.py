"""An asyncio app: the bank is synchronous, so its calls go to a thread and the event loop stays free."""

from __future__ import annotations

import asyncio

from memr1_lite import MemoryBank


async def serve(bank: MemoryBank, messages: list[str], query: str) -> list[str]:
    """Keep ``messages`` at the same time, while the loop ticks, then search."""
    await asyncio.gather(*(asyncio.to_thread(bank.record, text, speaker="Audrey") for text in messages))
    found = await asyncio.to_thread(bank.search, query)
    return [candidate.text for candidate in found]


def main() -> None:
    """Search what was said. ``bank.remember`` and ``bank.ask`` are called the same way."""
    with MemoryBank.open(":memory:") as bank:
        print(
            asyncio.run(serve(bank, ["I like green tea.", "The train to Lyon leaves at nine."], "When is the train?"))
        )


if __name__ == "__main__":
    main()
