"""One store under test, in a process and an environment of its own; run by ``store.py``, prints one JSON line.

Every engine holds the same vectors and texts, and writes so that they survive the process. It has four verbs: its
constructor opens it, ``build`` fills and closes it, ``search`` finds ten ids for a query, ``remember`` writes one more.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np

K = 10
BATCH = 1_000
NAME = "memories"


def unit(vector: np.ndarray) -> np.ndarray:
    """A row of the data as an engine gets it."""
    return np.ascontiguousarray(vector, dtype=np.float32)


class Given:
    """An embedder that costs nothing: it gives the vector that it was handed last."""

    name = "given"

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.now = np.zeros(dimension, np.float32)

    def embed(self, texts: list[str]) -> np.ndarray:
        return np.repeat(self.now[None], len(texts), axis=0)


class AddsAll:
    """A Memory Manager without a model: every message becomes a memory."""

    def decide(self, message: object, similar: object) -> object:
        from memr1_lite.records import Add, Decision

        return Decision(operations=(Add(op="ADD", text=message.text),))


class Memr1:
    """This package: vectors and full text, fused."""

    package = "memr1-lite"

    def __init__(self, folder: Path, dimension: int, **settings: int) -> None:
        from memr1_lite import BankConfig
        from memr1_lite.bank import MemoryBank

        self._embedder = Given(dimension)
        self._bank = MemoryBank.open(
            folder / "bank.db", embedder=self._embedder, memory_manager=AddsAll(), config=BankConfig(**settings)
        )

    def build(self, vectors: np.ndarray, texts: list[str]) -> None:
        from memr1_lite.records import Add

        store = self._bank._store
        for start in range(0, len(texts), BATCH):
            with store.transaction():
                for text, vector in zip(texts[start : start + BATCH], vectors[start : start + BATCH], strict=True):
                    operation, turn = Add(op="ADD", text=text), self.turn(text, unit(vector))
                    store.apply([operation], message_id=turn, reason="manager", vectors={text: unit(vector)})
        self.search(vectors[0], texts[0])  # the index is built with the first search
        self._bank.compact()
        self.close()

    def turn(self, text: str, vector: np.ndarray) -> int | None:
        """The turn that the memory is written from: none, as the others have none."""
        return None

    def close(self) -> None:
        self._bank.close()

    def search(self, vector: np.ndarray, text: str) -> list[int]:
        self._embedder.now = unit(vector)
        return [hit.id - 1 for hit in self._bank.search(text, K)]

    def nearest(self, vector: np.ndarray, text: str) -> list[int]:
        """By vector alone, for the recall: the fused order is another question."""
        index = self._bank._retriever._indexes["memory"]
        return [item - 1 for item, _ in index.search(unit(vector), K)]

    def remember(self, vector: np.ndarray, text: str) -> None:
        self._embedder.now = unit(vector)
        self._bank.remember(text)


class Memr1WithTurns(Memr1):
    """The same as ``remember()`` fills it: behind each memory a turn, with a vector and full text of its own."""

    def turn(self, text: str, vector: np.ndarray) -> int | None:
        store = self._bank._store
        return int(store.record("user", f"Did I tell you? {text}", None, vector=vector).id)


class SqliteVec:
    """A table of vectors inside SQLite, searched by looking at all."""

    package = "sqlite-vec"

    def __init__(self, folder: Path, dimension: int) -> None:
        import pysqlite3  # the standard library's own may be built without extensions
        import sqlite_vec

        self._db = pysqlite3.connect(folder / "vectors.db", isolation_level=None)
        self._db.enable_load_extension(True)
        sqlite_vec.load(self._db)
        self._db.execute("PRAGMA journal_mode = WAL").close()
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute(
            f"CREATE VIRTUAL TABLE IF NOT EXISTS {NAME} USING vec0"
            f"(embedding float[{dimension}] distance_metric=cosine, +text TEXT)"
        )

    def build(self, vectors: np.ndarray, texts: list[str]) -> None:
        for start in range(0, len(texts), BATCH):
            self._db.execute("BEGIN")
            part = vectors[start : start + BATCH]
            rows = [(start + i, unit(vector).tobytes(), texts[start + i]) for i, vector in enumerate(part)]
            self._db.executemany(f"INSERT INTO {NAME} (rowid, embedding, text) VALUES (?, ?, ?)", rows)
            self._db.execute("COMMIT")
        self._db.close()

    def search(self, vector: np.ndarray, text: str) -> list[int]:
        sql = f"SELECT rowid, text FROM {NAME} WHERE embedding MATCH ? AND k = {K} ORDER BY distance"
        return [row[0] for row in self._db.execute(sql, (unit(vector).tobytes(),))]

    def remember(self, vector: np.ndarray, text: str) -> None:
        self._db.execute(f"INSERT INTO {NAME} (embedding, text) VALUES (?, ?)", (unit(vector).tobytes(), text))


class Chroma:
    """A persistent collection with its HNSW index."""

    package = "chromadb"

    def __init__(self, folder: Path, dimension: int) -> None:
        import chromadb

        settings = chromadb.Settings(anonymized_telemetry=False)
        self._client = chromadb.PersistentClient(str(folder), settings=settings)
        self._rows = self._client.get_or_create_collection(
            NAME, embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
        )

    def build(self, vectors: np.ndarray, texts: list[str]) -> None:
        for start in range(0, len(texts), BATCH):
            end = min(start + BATCH, len(texts))
            ids = [str(item) for item in range(start, end)]
            self._rows.add(ids=ids, embeddings=np.asarray(vectors[start:end]), documents=texts[start:end])

    def search(self, vector: np.ndarray, text: str) -> list[int]:
        found = self._rows.query(query_embeddings=[unit(vector)], n_results=K)
        return [int(item) for item in found["ids"][0]]

    def remember(self, vector: np.ndarray, text: str) -> None:
        self._rows.add(ids=[f"9{time.perf_counter_ns()}"], embeddings=[unit(vector)], documents=[text])


class Lance:
    """A LanceDB table, searched as it is when nobody asks for an index: by looking at all."""

    package = "lancedb"

    def __init__(self, folder: Path, dimension: int) -> None:
        import lancedb

        self._db = lancedb.connect(str(folder))
        names = self._db.list_tables().tables if hasattr(self._db, "list_tables") else self._db.table_names()
        self._table = self._db.open_table(NAME) if NAME in names else None

    def build(self, vectors: np.ndarray, texts: list[str]) -> None:
        import pyarrow as pa

        for start in range(0, len(texts), 50 * BATCH):
            part = np.asarray(vectors[start : start + 50 * BATCH], dtype=np.float32)
            columns = {
                "id": pa.array(np.arange(start, start + len(part))),
                "vector": pa.FixedSizeListArray.from_arrays(pa.array(part.ravel()), part.shape[1]),
                "text": pa.array(texts[start : start + len(part)]),
            }
            rows = pa.table(columns)
            if self._table is None:
                self._table = self._db.create_table(NAME, rows)
            else:
                self._table.add(rows)

    def search(self, vector: np.ndarray, text: str) -> list[int]:
        found = self._table.search(unit(vector)).distance_type("cosine").limit(K).to_list()
        return [row["id"] for row in found]

    def remember(self, vector: np.ndarray, text: str) -> None:
        self._table.add([{"id": time.perf_counter_ns(), "vector": unit(vector), "text": text}])


class Qdrant:
    """qdrant-client's local mode, which mem0 uses unless told otherwise."""

    package = "qdrant-client"

    def __init__(self, folder: Path, dimension: int) -> None:
        import warnings

        from qdrant_client import QdrantClient, models

        warnings.simplefilter("ignore")  # it advises a server above 20,000 points
        self._models = models
        self._client = QdrantClient(path=str(folder))
        if not self._client.collection_exists(NAME):
            size = models.VectorParams(size=dimension, distance=models.Distance.COSINE)
            self._client.create_collection(NAME, vectors_config=size)

    def build(self, vectors: np.ndarray, texts: list[str]) -> None:
        point = self._models.PointStruct
        for start in range(0, len(texts), BATCH):
            points = [
                point(id=start + i, vector=unit(vector).tolist(), payload={"text": texts[start + i]})
                for i, vector in enumerate(vectors[start : start + BATCH])
            ]
            self._client.upsert(NAME, points)
        self._client.close()

    def search(self, vector: np.ndarray, text: str) -> list[int]:
        return [hit.id for hit in self._client.query_points(NAME, query=unit(vector).tolist(), limit=K).points]

    def remember(self, vector: np.ndarray, text: str) -> None:
        point = self._models.PointStruct(
            id=10**9 + time.perf_counter_ns() % 10**9, vector=unit(vector).tolist(), payload={"text": text}
        )
        self._client.upsert(NAME, [point])


ENGINES = {
    "memr1-lite": Memr1,
    "memr1-lite, with turns": Memr1WithTurns,
    "sqlite-vec": SqliteVec,
    "lancedb": Lance,
    "chromadb": Chroma,
    "qdrant": Qdrant,
}


def resident_mib() -> float:
    """Memory of this process that is in RAM, in MiB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) / 1024


def milliseconds(call: object, *values: object) -> float:
    """How long ``call(*values)`` takes."""
    began = time.perf_counter()
    call(*values)
    return 1000 * (time.perf_counter() - began)


def build(engine: type, folder: Path, data: Path) -> dict[str, object]:
    """Fill a new store."""
    vectors, texts = load(data)
    folder.mkdir()
    store = engine(folder, vectors.shape[1])
    return {"build_s": milliseconds(store.build, vectors, texts) / 1000}


def ask(engine: type, folder: Path, data: Path) -> dict[str, object]:
    """Open the store as a new process does, search it, then write one by one."""
    queries, texts = load(data, "query_")
    nearest = np.load(data / "nearest.npy")
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    warm(engine, folder.with_name(folder.name + "-warm"), queries.shape[1], texts[0])
    before = resident_mib()
    began = time.perf_counter()
    store = engine(folder, queries.shape[1])
    opened = 1000 * (time.perf_counter() - began)
    first = milliseconds(store.search, queries[0], texts[0])
    times = [milliseconds(store.search, vector, text) for vector, text in zip(queries[1:], texts[1:], strict=True)]
    memory = resident_mib() - before
    by_vector = getattr(store, "nearest", store.search)
    alone = [milliseconds(by_vector, vector, text) for vector, text in zip(queries[1:], texts[1:], strict=True)]
    hits = [
        len(set(by_vector(vector, text)) & set(near.tolist()))
        for vector, text, near in zip(queries, texts, nearest, strict=True)
    ]
    wrote = [milliseconds(store.remember, queries[i], f"{texts[i]} number {i}") for i in range(min(50, len(texts)))]
    return {
        "open_ms": opened,
        "first_search_ms": first,
        "search_p50_ms": median(times),
        "search_p95_ms": float(np.percentile(times, 95)),
        "vectors_p50_ms": median(alone),
        "recall_at_10": sum(hits) / (K * len(hits)),
        "remember_p50_ms": median(wrote),
        "memory_mib": memory,
        "disk_bytes_per_memory": size / len(load(data)[1]),
    }


def warm(engine: type, folder: Path, dimension: int, text: str) -> None:
    """Import what the engine imports, with a store of ten: only its own opening is to be measured."""
    folder.mkdir()
    vectors = np.random.default_rng(0).standard_normal((10, dimension)).astype(np.float32)
    store = engine(folder, dimension)
    store.build(vectors, [f"{text} {number}" for number in range(10)])
    engine(folder, dimension).search(vectors[0], text)


def load(data: Path, prefix: str = "") -> tuple[np.ndarray, list[str]]:
    """Vectors and texts of the memories, or of the queries."""
    vectors = np.load(data / f"{prefix}vectors.npy", mmap_mode="r")
    return vectors, (data / f"{prefix}texts.txt").read_text(encoding="utf-8").splitlines()


def main() -> None:
    """Command line: what to do, with which engine, in which folder, on which data."""
    what, name, folder, data = sys.argv[1:]
    engine = ENGINES[name]
    measured = {"build": build, "ask": ask}[what](engine, Path(folder), Path(data))
    try:
        from importlib.metadata import version

        measured["version"] = version(engine.package)
    except ImportError:  # not installed, but run from its checkout
        measured["version"] = "checkout"
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
