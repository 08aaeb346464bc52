"""Imports point down, each outside library stays in its room, and importing the package loads nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "memr1_lite"
LAYERS = [  # the top first
    {"__main__"},
    {"cli"},
    {"lines"},
    {"demo", "evaluation"},
    {"bank", "conversations"},
    {"intake"},
    {"decision_flow", "file_agents", "opening", "later", "ledger", "streaming"},
    {"retriever", "memory_manager", "answer_agent"},
    {"hits"},
    {"store", "question", "scoring", "gate"},
    {"migrations", "vector_index", "embedders", "llama", "testing"},
    {"exact_vectors", "index_file", "dates", "config", "idle", "apart", "shapes"},
    {"llm", "control", "machine"},
    {"records"},
    {"errors"},
]
ROOMS = {
    "llama_cpp": {"llama"},
    "hnswlib": {"vector_index"},
    "sqlite3": {"store", "migrations"},
    "sqlite_utils": {"store", "migrations"},
    "click": {"cli"},
    "torch": set(),
}
RANK = {room: rank for rank, layer in enumerate(LAYERS) for room in layer}


def room_of(file):
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def imports():
    for file in sorted(PACKAGE.rglob("*.py")):
        if file == PACKAGE / "__init__.py":
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file}: relative import"
                names = [node.module]
                if node.module == "memr1_lite":
                    names = [f"memr1_lite.{alias.name}" for alias in node.names if alias.name != "__version__"]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                yield room_of(file), name


def test_every_room_has_its_layer():
    rooms = {room_of(file) for file in PACKAGE.rglob("*.py")} - {"__init__"}
    assert rooms == set(RANK)


def test_imports_point_down():
    wrong = []
    for room, name in imports():
        if name.startswith("memr1_lite."):
            target = name.split(".")[1]
            if room != target and RANK[target] <= RANK[room]:
                wrong.append(f"{room} imports {target}")
    assert wrong == []


def test_each_library_stays_in_its_room():
    found = {(name.split(".")[0], room) for room, name in imports()}
    for library, rooms in ROOMS.items():
        assert {room for name, room in found if name == library} <= rooms


@pytest.mark.parametrize("code", ["import memr1_lite", "import memr1_lite; memr1_lite.MemoryBank"])
def test_importing_loads_no_engine(code):
    heavy = ["llama_cpp", "hnswlib", "torch", "jinja2", "tokenizers"]
    check = f"import sys; {code}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_the_package_alone_loads_no_library():
    check = "import sys; import memr1_lite; print([n for n in ('numpy', 'pydantic', 'sqlite3') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_benchmark_hides_a_package():
    """``python benchmarks/x.py`` looks in that folder first: a ``convert.py`` there would be taken for the package."""
    packages = {folder.parent.name for folder in PACKAGE.parent.glob("*/__init__.py")}
    assert {"convert", "memr1_lite", "train_ref"} <= packages
    assert not packages & {file.stem for file in (PACKAGE.parent / "benchmarks").glob("*.py")}


def test_no_module_grows_into_a_house():
    lengths = {file.name: len(file.read_text(encoding="utf-8").splitlines()) for file in PACKAGE.rglob("*.py")}
    assert {name: length for name, length in lengths.items() if length > 380} == {}
