"""What a bank is opened with: the retriever over its store, with the indexes beside the file."""

from __future__ import annotations

from pathlib import Path

from memr1_lite.config import BankConfig
from memr1_lite.llm import Embedder
from memr1_lite.retriever import Retriever
from memr1_lite.store import Kind, Store
from memr1_lite.vector_index import VectorIndex

IN_MEMORY = ":memory:"


def retriever_over(store: Store, embedder: Embedder, path: str | Path, config: BankConfig) -> Retriever:
    """The retriever over ``store``, with its indexes kept beside the database."""
    # Absolute: the indexes are written at the end, and the process may have changed its folder by then.
    beside = None if str(path) == IN_MEMORY else Path(path).absolute()
    kinds: dict[Kind, str] = {"memory": "memories", "turn": "turns"}
    memories, turns = (
        VectorIndex(
            None if beside is None else beside.with_name(f"{beside.name}.{rows}.hnsw"),
            embedder.dimension,
            exact_below=config.exact_below,
            embedder=embedder.name,
            stamps=store.index_stamps(kind),
        )
        for kind, rows in kinds.items()
    )
    return Retriever(store, embedder, memories, turns)
