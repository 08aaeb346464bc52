"""What the package shows to the outside: names, docstrings, versions, and what is in the wheel."""

from __future__ import annotations

import inspect
import re
from importlib import resources
from pathlib import Path

import pytest

import memr1_lite
from memr1_lite import errors

ROOT = Path(__file__).parents[1]


def test_the_public_names_are_sorted_and_all_there():
    assert memr1_lite.__all__ == sorted(memr1_lite.__all__)
    assert set(memr1_lite._HOME) == set(memr1_lite.__all__)
    for name in memr1_lite.__all__:
        assert getattr(memr1_lite, name).__name__ == name


def test_type_checkers_see_the_same_names_as_users():
    source = (ROOT / "memr1_lite" / "__init__.py").read_text(encoding="utf-8")
    checked = source[source.index("if TYPE_CHECKING") : source.index("__version__ =")]
    for name, module in memr1_lite._HOME.items():
        assert re.search(rf"from memr1_lite\.{module} import [^)]*?\b{name}\b", checked), name


def test_every_public_name_and_its_methods_say_what_they_do():
    for name in memr1_lite.__all__:
        public = getattr(memr1_lite, name)
        assert inspect.getdoc(public), name
        for method, function in vars(public).items():
            if inspect.isfunction(function) and not method.startswith("_"):
                assert inspect.getdoc(function), f"{name}.{method}"


def test_every_error_is_public_and_in_the_tree_that_is_drawn():
    ours = {
        name for name, value in vars(errors).items() if inspect.isclass(value) and value.__module__ == errors.__name__
    }
    assert ours <= set(memr1_lite.__all__)
    assert all(name in errors.__doc__ for name in ours)
    assert all(issubclass(getattr(errors, name), errors.MemR1Error) for name in ours)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        memr1_lite.Nothing  # noqa: B018


def test_the_changelog_begins_with_this_version():
    versions = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert versions[0] == memr1_lite.__version__


def test_the_package_ships_its_types_and_its_demonstration():
    files = resources.files("memr1_lite")
    assert (files / "py.typed").is_file()
    assert (files / "demo.jsonl").is_file()


def test_only_the_package_goes_into_the_wheel(tmp_path):
    wheel = pytest.importorskip("hatchling.builders.wheel")
    builder = wheel.WheelBuilder(str(ROOT))
    names = {Path(file.distribution_path).as_posix() for file in builder.recurse_included_files()}
    assert {name.split("/")[0] for name in names} == {"memr1_lite"}
    assert {"memr1_lite/py.typed", "memr1_lite/demo.jsonl", "memr1_lite/bank.py"} <= names
    ignored = {"manager.gguf", "answerer.gguf"} - {Path(name).name for name in names}
    assert not any((ROOT / "memr1_lite" / "agents" / name).exists() for name in ignored)
