"""Keep a chat log without any model, and search it.

Usage: python examples/import_chat_log.py chat.jsonl "a query" [chat.db]

Each line of the file is one turn: {"speaker": "Ann", "text": "I like tea.", "at": "2023-06-16"}; "at" may be left out.
"""

from __future__ import annotations

import sys

from memr1_lite import MemoryBank
from memr1_lite.conversations import read_jsonl


def main(file: str, query: str, path: str = ":memory:") -> None:
    """Keep every turn of ``file`` and show what is found for ``query``, there or in the turns around."""
    with MemoryBank.open(path) as bank:
        for turn in read_jsonl(file):
            bank.record(turn.text, speaker=turn.speaker, at=turn.at, source_id=turn.source_id)
        # bank.remember_pending() would now let the Memory Manager decide about each of them.
        print(f"{len(bank.pending())} turns are kept and wait for a decision")
        for found in bank.search(query, k=3):
            print(f"{found.speaker}: {found.text}")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(*sys.argv[1:])
