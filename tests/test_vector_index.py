from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memr1_lite import index_file
from memr1_lite.control import Call, Calls
from memr1_lite.errors import DeadlineError, VectorIndexError
from memr1_lite.exact_vectors import ExactVectors
from memr1_lite.vector_index import FIRST_CAPACITY, VectorIndex

DIMENSION = 16
EXACT, GRAPH = 10**6, 0
both = pytest.mark.parametrize("exact_below", [EXACT, GRAPH])
NOTHING = (np.zeros(0, dtype=np.int64), np.zeros((0, DIMENSION), dtype=np.float32))


def unit_rows(count, seed=0, dimension=DIMENSION):
    rows = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def filled(count, exact_below, path=None, **options):
    index = VectorIndex(path, DIMENSION, exact_below=exact_below, **options)
    index.rebuild(count, np.arange(1, count + 1), unit_rows(count))
    return index


def rows_of(index, queries, k=5):
    return [index.search(query, k) for query in queries]


@both
def test_an_empty_index_finds_nothing(exact_below):
    index = VectorIndex(None, DIMENSION, exact_below=exact_below)
    assert (index.search(unit_rows(1)[0], 5), index.position, len(index)) == ([], 0, 0)


@both
def test_the_best_come_first_with_their_cosines(exact_below):
    vectors = unit_rows(200)
    query = unit_rows(1, seed=9)[0]
    expected = np.argsort(-(vectors @ query))[:7]
    found = filled(200, exact_below).search(query, 7)
    assert [item for item, _ in found] == [int(row) + 1 for row in expected]
    assert [cosine for _, cosine in found] == pytest.approx([float(vectors[row] @ query) for row in expected], abs=1e-5)


def test_exact_and_graph_find_the_same_nearest_on_300_self_queries():
    vectors = unit_rows(300)
    exact, graph = filled(300, EXACT), filled(300, GRAPH)
    for row, vector in enumerate(vectors):
        assert exact.search(vector, 1) == graph.search(vector, 1) == [(row + 1, 1.0)]


@both
def test_equal_vectors_are_ordered_by_id(exact_below):
    index = VectorIndex(None, DIMENSION, exact_below=exact_below)
    ids = np.array([9, 3, 7, 5, 1])
    index.rebuild(1, ids, np.repeat(unit_rows(1), 5, axis=0))
    assert [item for item, _ in index.search(unit_rows(1)[0], 5)] == [1, 3, 5, 7, 9]


def test_exact_ties_at_the_cut_go_to_the_smaller_id():
    index = VectorIndex(None, DIMENSION, exact_below=EXACT)
    index.rebuild(1, np.array([9, 3, 7, 5, 1]), np.repeat(unit_rows(1), 5, axis=0))
    assert [item for item, _ in index.search(unit_rows(1)[0], 2)] == [1, 3]


@both
def test_asking_for_more_than_is_left_returns_what_is_left(exact_below):
    index = filled(20, exact_below)
    index.catch_up(21, range(1, 16), NOTHING)
    assert sorted(item for item, _ in index.search(unit_rows(1)[0], 99)) == [16, 17, 18, 19, 20]
    assert index.search(unit_rows(1)[0], 0) == []
    index.catch_up(22, range(1, 21), NOTHING)
    assert index.search(unit_rows(1)[0], 3) == []


@both
def test_a_removed_id_can_be_removed_again_and_come_back(exact_below):
    index = filled(20, exact_below)
    index.catch_up(21, [5, 5, 777], NOTHING)
    index.catch_up(22, [5], NOTHING)
    assert 5 not in index.ids()
    again = unit_rows(1, seed=4)
    index.catch_up(23, [5], (np.array([5]), again))
    assert index.search(again[0], 1) == [(5, 1.0)]
    assert index.position == 23


@both
def test_a_replaced_vector_is_found_where_it_is_now(exact_below):
    index = filled(50, exact_below)
    now = unit_rows(1, seed=4)
    index.catch_up(51, [7], (np.array([7]), now))
    assert index.search(now[0], 1) == [(7, 1.0)]
    assert index.search(unit_rows(50)[6], 1)[0][1] < 0.999
    assert len(index) == 50


@both
def test_of_an_id_given_twice_the_last_counts(exact_below):
    index = VectorIndex(None, DIMENSION, exact_below=exact_below)
    vectors = unit_rows(2)
    index.rebuild(1, np.array([4, 4]), vectors)
    assert index.ids() == [4]
    assert index.search(vectors[1], 1) == [(4, 1.0)]


@both
def test_grows_past_its_first_capacity(exact_below):
    index = VectorIndex(None, DIMENSION, exact_below=exact_below)
    vectors = unit_rows(3 * FIRST_CAPACITY)
    for start in range(0, len(vectors), 500):
        ids = np.arange(start, min(start + 500, len(vectors)))
        index.catch_up(start + 1, ids.tolist(), (ids, vectors[ids]))
    assert len(index) == len(vectors)
    assert all(index.search(vectors[row], 1) == [(row, 1.0)] for row in range(0, len(vectors), 97))


@both
@pytest.mark.parametrize("shape", [(1, DIMENSION + 1), (1, DIMENSION - 1), (2, DIMENSION), (DIMENSION,), (1, 0)])
def test_a_wrong_shape_is_refused_before_hnswlib_sees_it(exact_below, shape):
    index = filled(20, exact_below)
    wrong = np.ones(shape, dtype=np.float32)
    with pytest.raises(VectorIndexError, match="dimension 16"):
        index.catch_up(21, [1], (np.array([1]), wrong))
    with pytest.raises(VectorIndexError, match="dimension 16"):
        index.rebuild(21, np.array([1]), wrong)
    with pytest.raises(VectorIndexError, match="dimension 16"):
        index.search(np.ones(DIMENSION + 1, dtype=np.float32), 1)
    assert (len(index), index.position) == (20, 20)


@both
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_is_refused_and_nothing_changed(exact_below, value):
    index = filled(20, exact_below)
    wrong = unit_rows(1)
    wrong[0, 3] = value
    with pytest.raises(VectorIndexError, match="NaN or infinity"):
        index.catch_up(21, [1, 2], (np.array([1]), wrong))
    with pytest.raises(VectorIndexError, match="NaN or infinity"):
        index.search(wrong[0], 1)
    assert index.ids() == list(range(1, 21))


def test_a_vector_of_another_length_still_counts_by_its_direction():
    index = VectorIndex(None, DIMENSION, exact_below=EXACT)
    index.rebuild(1, np.array([1, 2]), np.stack([unit_rows(1)[0] * 9, np.zeros(DIMENSION, dtype=np.float32)]))
    assert index.search(unit_rows(1)[0] * 5, 2) == [(1, 1.0), (2, 0.0)]


def test_it_turns_to_a_graph_above_the_limit_and_back_when_mostly_emptied(tmp_path):
    index = filled(100, 50, tmp_path / "a.hnsw")
    index.save()
    assert (tmp_path / "a.hnsw").exists()
    index.catch_up(101, range(1, 81), NOTHING)
    index.save()
    assert list(tmp_path.iterdir()) == []
    assert index.ids() == list(range(81, 101))
    assert index.search(unit_rows(100)[90], 1) == [(91, 1.0)]


def test_a_graph_made_mostly_of_removed_vectors_is_built_anew(tmp_path):
    count = 2 * FIRST_CAPACITY + 400
    index = filled(count, GRAPH, tmp_path / "a.hnsw")
    index.catch_up(count + 1, range(1, FIRST_CAPACITY + 300), NOTHING)
    index.save()
    assert json.loads((tmp_path / "a.hnsw.json").read_text())["removed"] == []
    assert len(index) == count - FIRST_CAPACITY - 299
    assert index.search(unit_rows(count)[-1], 1) == [(count, 1.0)]


def test_many_removed_neighbours_do_not_hide_the_rest():
    # All but one of a tight cluster are removed: the search must get past them, or fall back to looking at all.
    centre = unit_rows(1)[0]
    near = centre + 0.01 * unit_rows(900, seed=1)
    far = unit_rows(500, seed=2)
    index = VectorIndex(None, DIMENSION, exact_below=GRAPH)
    index.rebuild(1, np.arange(1400), np.concatenate([near, far]))
    index.catch_up(2, range(899), NOTHING)
    found = index.search(centre, 501)
    assert sorted(item for item, _ in found) == list(range(899, 1400))
    assert found[0][0] == 899


def test_a_search_that_hnswlib_gives_up_on_is_answered_exactly():
    index, exact = filled(200, GRAPH), filled(200, EXACT)

    class GivesUp:
        def __init__(self, graph):
            self._graph, self.asked = graph, 0

        def __getattr__(self, name):
            return getattr(self._graph, name)

        def knn_query(self, *args, **options):
            self.asked += 1
            raise RuntimeError("Cannot return the results in a contiguous 2D array. Probably ef or M is too small")

    index._vectors._graph = graph = GivesUp(index._vectors._graph)
    queries = unit_rows(10, seed=3)
    assert rows_of(index, queries) == rows_of(exact, queries)
    assert graph.asked == 20


# Saving and loading


def saved(tmp_path, count=150):
    index = filled(count, GRAPH, tmp_path / "bank.hnsw", embedder="e")
    index.catch_up(count + 1, [3, 4], NOTHING)
    index.save()
    return index, VectorIndex(tmp_path / "bank.hnsw", DIMENSION, exact_below=GRAPH, embedder="e")


def test_what_is_saved_is_loaded(tmp_path):
    index, again = saved(tmp_path)
    assert again.load()
    assert (again.position, again.ids()) == (151, index.ids())
    queries = unit_rows(20, seed=5)
    assert rows_of(again, queries) == rows_of(index, queries)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bank.hnsw", "bank.hnsw.json"]


def test_a_loaded_index_goes_on_where_it_was(tmp_path):
    _, again = saved(tmp_path)
    assert again.load()
    back = unit_rows(1, seed=8)
    again.catch_up(152, [3, 9], (np.array([3]), back))
    assert again.search(back[0], 1) == [(3, 1.0)]
    assert {4, 9}.isdisjoint(again.ids())
    again.save()
    third = VectorIndex(tmp_path / "bank.hnsw", DIMENSION, exact_below=GRAPH, embedder="e")
    assert third.load()
    assert (third.position, third.ids()) == (152, again.ids())


def test_a_large_k_reaches_as_far_after_loading_as_before(tmp_path):
    index, again = saved(tmp_path, count=600)
    assert again.load()
    query = unit_rows(1, seed=6)[0]
    assert again.search(query, 300) == index.search(query, 300)


def test_an_unchanged_index_is_not_written_again(tmp_path):
    index, again = saved(tmp_path)
    assert again.load()
    before = (tmp_path / "bank.hnsw").stat().st_mtime_ns
    for one in (index, again):
        one.catch_up(999, [], NOTHING)
        one.save()
    assert (tmp_path / "bank.hnsw").stat().st_mtime_ns == before


def test_nothing_saved_is_nothing_loaded(tmp_path):
    for path in (None, tmp_path / "none.hnsw", tmp_path / "no" / "folder.hnsw"):
        index = VectorIndex(path, DIMENSION, exact_below=GRAPH)
        assert not index.load()
        assert len(index) == 0


def test_few_vectors_leave_no_file_and_remove_an_old_one(tmp_path):
    saved(tmp_path)
    index = filled(10, EXACT, tmp_path / "bank.hnsw")
    index.save()
    assert list(tmp_path.iterdir()) == []
    assert not index.load()
    assert len(index) == 10


@pytest.mark.parametrize(
    "other", [VectorIndex(None, 8, exact_below=0, embedder="e"), VectorIndex(None, DIMENSION, exact_below=0)]
)
def test_an_index_of_another_dimension_or_embedder_is_not_loaded(tmp_path, other):
    saved(tmp_path)
    other._path = tmp_path / "bank.hnsw"
    assert not other.load()
    assert len(other) == 0


@pytest.mark.parametrize("name", ["bank.hnsw", "bank.hnsw.json"])
@pytest.mark.parametrize("twentieth", range(20))
def test_a_flipped_byte_anywhere_is_noticed(tmp_path, name, twentieth):
    _, again = saved(tmp_path, count=40)
    damaged = bytearray((tmp_path / name).read_bytes())
    damaged[len(damaged) * twentieth // 20] ^= 0x01
    (tmp_path / name).write_bytes(damaged)
    assert not again.load()
    assert (len(again), again.position) == (0, 0)


@pytest.mark.parametrize("name", ["bank.hnsw", "bank.hnsw.json"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_noticed(tmp_path, name, share):
    _, again = saved(tmp_path)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
    assert not again.load()


def test_few_vectors_leave_no_file_not_even_what_a_killed_process_left_unfinished(tmp_path):
    saved(tmp_path)
    (tmp_path / "bank.hnsw.tmp").write_bytes(b"half a graph")
    filled(5, EXACT, tmp_path / "bank.hnsw").save()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["bank.hnsw", "bank.hnsw.json"])
def test_either_file_alone_is_not_enough(tmp_path, name):
    _, again = saved(tmp_path)
    (tmp_path / name).unlink()
    assert not again.load()


def test_a_crash_between_the_two_files_means_building_anew(tmp_path):
    index, again = saved(tmp_path)
    old_header = (tmp_path / "bank.hnsw.json").read_bytes()
    index.catch_up(152, [1], NOTHING)
    index.save()
    (tmp_path / "bank.hnsw.json").write_bytes(old_header)
    assert not again.load()


def test_a_crash_while_writing_leaves_the_old_index(tmp_path):
    index, again = saved(tmp_path)
    (tmp_path / "bank.hnsw.1234.tmp").write_bytes(b"half a graph")
    an_hour_ago = time.time() - 3600
    os.utime(tmp_path / "bank.hnsw.1234.tmp", (an_hour_ago, an_hour_ago))
    assert again.load()
    again.catch_up(152, [1], NOTHING)
    again.save()
    assert list(tmp_path.glob("*.tmp")) == []
    assert index.load()
    assert index.position == 152


def test_an_index_that_cannot_be_written_is_an_error_of_ours(tmp_path):
    index = filled(40, GRAPH, tmp_path / "no such folder" / "bank.hnsw")
    with pytest.raises(VectorIndexError, match="only a cache"):
        index.save()
    assert len(index) == 40


def test_rebuilding_leaves_no_trace_of_a_removed_vector(tmp_path):
    index = filled(50, GRAPH, tmp_path / "bank.hnsw")
    secret = unit_rows(50)[6].tobytes()
    index.catch_up(51, [7], NOTHING)
    index.save()
    kept = [row for row in range(50) if row != 6]
    index.rebuild(52, np.array(kept) + 1, unit_rows(50)[kept])
    index.save()
    assert secret not in (tmp_path / "bank.hnsw").read_bytes()


class Noted:
    """The stamps of a bank."""

    def __init__(self):
        self.stamps = []

    def announced(self):
        return self.stamps[-2:]

    def announce(self, stamp):
        self.stamps.append(stamp)


def test_only_an_index_that_its_bank_knows_is_taken(tmp_path):
    mine = Noted()
    filled(50, GRAPH, tmp_path / "a.hnsw", stamps=mine).save()
    for stamps, taken in ((mine, True), (Noted(), False)):
        index = VectorIndex(tmp_path / "a.hnsw", DIMENSION, exact_below=GRAPH, stamps=stamps)
        assert index.load() is taken
    mine.announce("of an index that was never put in its place")
    assert index.load() is False
    assert VectorIndex(tmp_path / "a.hnsw", DIMENSION, exact_below=GRAPH, stamps=mine).load()


def test_a_graph_of_another_kind_of_machine_is_not_taken(tmp_path, monkeypatch):
    _, again = saved(tmp_path)
    monkeypatch.setattr(index_file, "LAYOUT", "big 4")
    assert not again.load()


def test_a_graph_that_its_header_does_not_fit_is_never_handed_to_hnswlib(tmp_path):
    saved(tmp_path)
    path, asked = tmp_path / "bank.hnsw", []

    def load(*given):
        asked.append(given)
        return True

    assert index_file.read(path, DIMENSION, "e", None, load) is not None
    path.write_bytes(path.read_bytes()[:-8] + b"not this")
    assert index_file.read(path, DIMENSION, "e", None, load) is None
    assert index_file.read(path, DIMENSION + 1, "e", None, load) is None
    assert len(asked) == 1


def test_a_graph_that_is_replaced_while_it_is_read_is_not_taken(tmp_path):
    saved(tmp_path)
    path = tmp_path / "bank.hnsw"

    def load(path, header):
        other = path.with_name("other")
        other.write_bytes(path.read_bytes())
        other.replace(path)
        return True

    assert index_file.read(path, DIMENSION, "e", None, load) is None


def test_several_may_save_to_one_place_at_once_and_one_of_them_is_loaded_or_none(tmp_path):
    indexes = [filled(count, GRAPH, tmp_path / "bank.hnsw") for count in (60, 70, 80)]
    failures, loaded = [], []

    def save(index):
        for _ in range(15):
            try:
                index.rebuild(len(index), np.arange(1, len(index) + 1), unit_rows(len(index)))
                index.save()
                again = VectorIndex(tmp_path / "bank.hnsw", DIMENSION, exact_below=GRAPH)
                loaded.append((again.load(), len(again), again.position))
            except VectorIndexError as error:
                failures.append(error)

    threads = [threading.Thread(target=save, args=(index,)) for index in indexes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert set(loaded) <= {(False, 0, 0), (True, 60, 60), (True, 70, 70), (True, 80, 80)}
    assert list(tmp_path.glob("*.tmp")) == []


def test_a_graph_is_saved_by_itself_once_a_quarter_of_it_is_not_on_disk(tmp_path):
    index = VectorIndex(tmp_path / "bank.hnsw", DIMENSION, exact_below=GRAPH)
    vectors = unit_rows(2 * FIRST_CAPACITY)
    on_disk = []
    for start in range(0, len(vectors), 128):
        ids = np.arange(start, start + 128)
        index.catch_up(start + 128, ids.tolist(), (ids, vectors[ids]))
        again = VectorIndex(tmp_path / "bank.hnsw", DIMENSION, exact_below=GRAPH)
        on_disk.append(len(again) if again.load() else 0)
    assert sorted(set(on_disk)) == [0, FIRST_CAPACITY, 2 * FIRST_CAPACITY]


@pytest.mark.skipif(sys.platform == "win32", reason="no such modes there")
def test_the_files_are_readable_by_their_owner_only(tmp_path):
    saved(tmp_path)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


# Following a log


steps = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "remove"]),
        st.integers(1, 25),
        st.integers(0, 10**6),
        st.sampled_from([True, False, False]),
    ),
    max_size=80,
)


@settings(max_examples=40, deadline=None)
@given(steps=steps, exact_below=st.sampled_from([EXACT, GRAPH, 8]))
def test_catching_up_now_and_then_equals_building_anew(steps, exact_below):
    rows: dict[int, np.ndarray] = {}
    log: list[int] = []
    index = VectorIndex(None, DIMENSION, exact_below=exact_below)

    def catch_up():
        touched = sorted(set(log[index.position :]))
        present = [item for item in touched if item in rows]
        matrix = np.array([rows[item] for item in present], dtype=np.float32).reshape(-1, DIMENSION)
        index.catch_up(len(log), touched, (np.array(present, dtype=np.int64), matrix))

    for what, item, seed, now in steps:
        if what == "put":
            # No two items are equally near: which of them a graph finds first is nobody's promise.
            rows[item] = unit_rows(1, seed=26 * seed + item)[0]
        else:
            rows.pop(item, None)
        log.append(item)
        if now:
            catch_up()
    catch_up()
    fresh = VectorIndex(None, DIMENSION, exact_below=EXACT)
    ids = sorted(rows)
    fresh.rebuild(len(log), np.array(ids, dtype=np.int64), np.array([rows[i] for i in ids]).reshape(-1, DIMENSION))
    assert index.ids() == ids
    assert index.position == len(log)
    for query in [*unit_rows(2, seed=1), *rows.values()]:
        found, expected = index.search(query, 4), fresh.search(query, 4)
        assert [item for item, _ in found] == [item for item, _ in expected]
        assert [cosine for _, cosine in found] == pytest.approx([cosine for _, cosine in expected], abs=2e-6)


@both
def test_threads_may_search_while_another_catches_up(exact_below):
    index, failures = filled(200, exact_below), []
    vectors, extra = unit_rows(200), unit_rows(1500, seed=7)

    def search():
        for row in range(100, 200):
            if index.search(vectors[row], 1) != [(row + 1, 1.0)]:
                failures.append(row)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for start in range(0, 1500, 50):
        ids = np.arange(1000 + start, 1050 + start)
        index.catch_up(300 + start, [*ids.tolist(), start // 50 + 1], (ids, extra[start : start + 50]))
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(index) == 200 + 1500 - 30


def test_the_exact_vectors_forget_what_they_held():
    vectors = ExactVectors(DIMENSION)
    vectors.add(np.arange(5), unit_rows(5))
    vectors.remove([1, 4, 9])
    ids, matrix = vectors.items()
    assert sorted(ids.tolist()) == [0, 2, 3]
    assert np.array_equal(matrix, unit_rows(5)[ids])


def test_importing_the_module_does_not_load_hnswlib():
    program = "import sys, memr1_lite.vector_index; sys.exit('hnswlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_wide_filter_asks_the_graph_and_finds_nothing_else(monkeypatch):
    index, exact = filled(3_000, GRAPH), filled(3_000, EXACT)
    allowed = np.arange(1, 3_001, 2)
    index.catch_up(2, [1, 3, 5], NOTHING)
    exact.catch_up(2, [1, 3, 5], NOTHING)
    queries = np.random.default_rng(5).standard_normal((20, DIMENSION)).astype(np.float32)
    with monkeypatch.context() as patched:  # one by one, this filter would be slow
        patched.setattr(type(index._vectors), "items_of", None)
        found = [index.search(query, 10, allowed) for query in queries]
    true = [exact.search(query, 10, allowed) for query in queries]
    assert all(len(hits) == 10 and all(item in allowed for item, _ in hits) for hits in found)
    assert np.mean([len(set(mine) & set(theirs)) for mine, theirs in zip(found, true, strict=True)]) > 9.5
    # More than the filter lets through and that are still there: the graph gives up, and all of them come.
    unknown = np.concatenate([np.arange(1, 12, 2), np.arange(10_000, 12_000)])
    assert sorted(item for item, _ in index.search(queries[0], 10, unknown)) == [7, 9, 11]


@both
@pytest.mark.parametrize("count", [3, 40, 400])
def test_only_what_is_allowed_is_found_and_exactly(exact_below, count):
    vectors = unit_rows(400)
    index = filled(400, exact_below)
    index.catch_up(500, [5, 6], NOTHING)
    allowed = np.sort(np.random.default_rng(count).choice(np.arange(1, 401), count, replace=False))
    query = unit_rows(1, seed=9)[0]
    live = [item for item in allowed.tolist() if item not in (5, 6)]
    expected = sorted(live, key=lambda item: -float(vectors[item - 1] @ query))[:10]
    unknown = np.append(allowed, 9_999)
    assert [item for item, _ in index.search(query, 10, unknown)] == expected


def test_cosines_are_exact_and_missing_where_there_is_no_vector():
    vectors, query = unit_rows(50), unit_rows(1, seed=9)[0]
    index = filled(50, EXACT)
    index.catch_up(51, [7], NOTHING)
    for ids in ([3, 7, 9, 99], [*range(1, 51)]):  # a few are picked, many are multiplied all at once
        expected = [np.nan if item in (7, 99) else float(vectors[item - 1] @ query) for item in ids]
        assert index.cosines(query, np.array(ids)) == pytest.approx(np.array(expected), abs=1e-5, nan_ok=True)
    assert filled(50, GRAPH).cosines(query, np.array([1])) is None


class Ending(Call):
    """Ends at its third look."""

    looked = 0

    def check(self):
        self.looked += 1
        if self.looked == 3:
            raise DeadlineError("The time is over.")


def test_a_stopped_build_leaves_nothing_and_a_stopped_catching_up_what_was_there(monkeypatch):
    monkeypatch.setattr("memr1_lite.vector_index.PIECE", 8)
    vectors = unit_rows(40)
    index = VectorIndex(None, DIMENSION, exact_below=20)
    with Calls().under(Ending()), pytest.raises(DeadlineError):
        index.rebuild(40, np.arange(40), vectors)
    assert (len(index), index.position) == (0, 0)

    index.rebuild(10, np.arange(10), vectors[:10])
    with Calls().under(Ending()), pytest.raises(DeadlineError):  # on the way to a graph
        index.catch_up(40, range(10, 40), (np.arange(10, 40), vectors[10:]))
    assert (index.ids(), index.position) == (list(range(10)), 10)
    index.catch_up(40, range(10, 40), (np.arange(10, 40), vectors[10:]))
    assert [index.search(vector, 1)[0][0] for vector in vectors] == list(range(40))
