"""How many cores there are, on machines that are not this one."""

from __future__ import annotations

import pytest

from memr1_lite import machine
from memr1_lite.llama import library


def processors(folder, *siblings):
    for number, said in enumerate(siblings):
        (folder / f"cpu{number}" / "topology").mkdir(parents=True)
        (folder / f"cpu{number}" / "topology" / "thread_siblings_list").write_text(said + "\n")
    return folder


@pytest.mark.parametrize(
    ("siblings", "usable", "cores"),
    [
        (["0,4", "1,5", "2,6", "3,7", "0,4", "1,5", "2,6", "3,7"], range(8), 4),
        (["0", "1", "2", "3", "4", "5"], range(6), 6),  # more than four, and none of them shared
        (["0-1", "0-1", "2-3", "2-3"], range(4), 2),  # four, and shared
        (["0-1", "0-1", "2-3", "2-3", "4", "5", "6", "7"], range(8), 6),  # two kinds of cores
        (["0,4", "1,5", "2,6", "3,7", "0,4", "1,5", "2,6", "3,7"], [0, 4], 1),  # it may run on one core only
        (["0"], [0], 1),
    ],
)
def test_logical_cores_that_share_a_physical_one_count_once(tmp_path, siblings, usable, cores):
    assert machine.physical_cores(processors(tmp_path, *siblings), usable) == cores


def test_macos_is_asked_where_there_is_nothing_to_read(tmp_path):
    asked = []

    def sysctl(name):
        asked.append(name)
        return 10

    assert machine.physical_cores(tmp_path, range(10), sysctl) == 10
    assert asked == ["hw.physicalcpu"]


@pytest.mark.parametrize(("logical", "cores"), [(1, 1), (2, 2), (4, 4), (6, 3), (16, 8), (0, 1)])
def test_where_nobody_tells_it_is_a_guess(tmp_path, logical, cores):
    assert machine.physical_cores(tmp_path, range(logical), lambda name: None) == cores


def test_a_core_that_does_not_tell_makes_it_a_guess(tmp_path):
    assert machine.physical_cores(processors(tmp_path, "0-1", "0-1"), range(6), lambda name: None) == 3


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (6, 5)])
def test_llama_gets_physical_cores_less_one(monkeypatch, cores, threads):
    monkeypatch.setattr(library, "physical_cores", lambda: cores)
    assert library.default_threads() == threads


def test_this_machine_has_at_least_one_core():
    assert 1 <= machine.physical_cores() <= (machine.os.cpu_count() or 1)
    assert machine.sysctl("hw.physicalcpu") is None or machine.sysctl("hw.physicalcpu") >= 1
