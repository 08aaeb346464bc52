"""What a bank is opened with: its embedder, and the retriever over its store, with the indexes beside the file."""

from __future__ import annotations

import os
from pathlib import Path

from memr1_lite.config import BankConfig
from memr1_lite.embedders import LexicalEmbedder
from memr1_lite.llama.embedding import LlamaEmbedder
from memr1_lite.llm import Embedder
from memr1_lite.retriever import Retriever
from memr1_lite.store import Kind, Store
from memr1_lite.vector_index import VectorIndex

IN_MEMORY = ":memory:"


def cached_embedder() -> Path:
    """Where ``make embedder`` leaves the sentence encoder: in the user's cache folder, as XDG has it."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "memr1-lite" / "embedder.gguf"


def embedder_for(path: str | Path, config: BankConfig | None = None) -> Embedder:
    """The embedder that the bank at ``path`` was made with, if it is at hand; for a new one the best that is.

    :raises ModelLoadError: the sentence encoder is damaged
    """
    lexical, encoder = LexicalEmbedder(), cached_embedder()
    made_with = None if str(path) == IN_MEMORY else Store.embedder_of(path)
    # A bank made with one that is not here: the store refuses this one, and says which it wants.
    if made_with == lexical.name or not encoder.is_file():
        return lexical
    return LlamaEmbedder.load(encoder, idle_seconds=(config or BankConfig()).idle_seconds)


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
