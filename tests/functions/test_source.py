"""What of a function counts as a change, in this process and in another."""

from __future__ import annotations

import json
import linecache
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from invdesign.errors import PluginError
from invdesign.functions.modules import hash_module, import_function, module_file
from invdesign.functions.source import hash_function, list_differences
from tests.support import ROOT, environment

FUNCTION = """\
import math
import numpy as np

SCALE = 2
TABLE = {"Li": 1.0, "Na": [2.0, 3.0]}
WEIGHTS = np.arange(3.0)
CALLS = []
NAMES = {"b", "a", "c"}


class Model:
    def at(self, x):
        return x


MODEL = Model()


def helper(x):
    return SCALE * x + len(NAMES)


def hardness(candidate):
    global COUNT
    CALLS.append(1)
    COUNT = len(CALLS)
    return math.sqrt(helper(candidate)) + TABLE["Li"] + WEIGHTS[0] + MODEL.at(1)
"""
OWN = {"its source", "the function 'helper'"}


def made(text: str, name: str = "hardness") -> tuple[Any, dict[str, str]]:
    """The function of a cell of a notebook, and its parts."""
    file = f"<cell {abs(hash(text))}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(text, file, "exec"), scope)
    return scope[name], hash_function(scope[name], {})


def changed(old: str, new: str, text: str = FUNCTION) -> list[str]:
    assert old in text
    return list_differences(made(text)[1], made(text.replace(old, new))[1])


def test_the_parts() -> None:
    """The function, those it calls, and what they read from around them; of a module or an object what it is."""
    assert set(made(FUNCTION)[1]) == {
        *OWN,
        "the captured value 'helper.SCALE'",
        "the captured value 'helper.NAMES'",
        "the captured value 'TABLE'",
        "the captured value 'WEIGHTS'",
        "the captured value 'CALLS'",
        "the captured value 'MODEL'",
        "the module 'math'",
    }


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("return SCALE * x", "# twice\n    return (SCALE\n      * x)", []),
        ("def helper(x):\n", 'def helper(x):\n    """Says more."""\n', []),
        ("SCALE = 2\n", "SCALE = 1 + 1\n", []),
        ("SCALE * x", "SCALE + x", ["the function 'helper'"]),
        ("CALLS.append(1)", "CALLS.append(2)", ["its source"]),
        ("SCALE = 2", "SCALE = 3", ["the captured value 'helper.SCALE'"]),
        ("SCALE = 2", "SCALE = 2.0", ["the captured value 'helper.SCALE'"]),
        ("[2.0, 3.0]", "[2.0, 4.0]", ["the captured value 'TABLE'"]),
        ("arange(3.0)", "arange(3)", ["the captured value 'WEIGHTS'"]),
        ('{"b", "a", "c"}', '{"c", "b", "a"}', []),
        ("import math", "import cmath as math", ["the module 'math'"]),
        ("CALLS.append(1)", "CALLS.append(SCALE)", ["its source", "the captured value 'SCALE' (new)"]),
        (" + WEIGHTS[0]", "", ["its source", "the captured value 'WEIGHTS' (gone)"]),
    ],
)
def test_what_is_a_change(old: str, new: str, parts: list[str]) -> None:
    """Comments, formatting and docstrings are none; what was changed is named."""
    assert changed(old, new) == parts


def test_what_the_function_does_to_its_surroundings_is_no_change() -> None:
    """Lists it appends to and names it assigns are as they were first; constants as they are now."""
    function, _ = made(FUNCTION)
    seen: dict[str, str] = {}
    before = hash_function(function, seen)
    for _ in range(3):
        function(1.0)
    assert hash_function(function, seen) == before
    function.__globals__["SCALE"] = 5
    assert list_differences(before, hash_function(function, seen)) == ["the captured value 'helper.SCALE'"]


def test_a_counter_of_a_closure() -> None:
    """A captured name that the function itself assigns to counts as it was first."""

    def counting(start: int) -> Any:
        count = start

        def call(candidate: object) -> int:
            nonlocal count
            count += 1
            return count

        return call

    function, seen = counting(0), {}
    before = hash_function(function, seen)
    function(None)
    assert hash_function(function, seen) == before
    assert list_differences(before, hash_function(counting(1), {})) == ["the captured value 'count'"]


def test_functions_without_source() -> None:
    """Lambdas, and functions typed where no source is kept, are known by what they do."""
    scope: dict[str, Any] = {}
    exec("f = lambda c: c + 1\ng = lambda c: c + 1\nh = lambda c: c + 2\ndef k(c): return 3", scope)
    parts = {name: hash_function(scope[name], {}) for name in "fghk"}
    assert parts["f"] == parts["g"] != parts["h"]
    assert parts["k"]


def test_partials_methods_and_objects() -> None:
    """What is given beforehand counts; an object counts by its class."""
    from functools import partial

    def scaled(k: float, candidate: float) -> float:
        return k * candidate

    two, three = (hash_function(partial(scaled, k), {}) for k in (2.0, 3.0))
    assert list_differences(two, three) == ["the argument '0'"]
    assert "the object 'self'" in hash_function(Scaled(2.0).called, {})
    assert hash_function(Scaled(2.0), {}) == hash_function(Scaled(3.0), {})


class Scaled:
    """A function of its own."""

    def __init__(self, k: float) -> None:
        self.k = k

    def __call__(self, candidate: float) -> float:
        return self.k * candidate

    def called(self, candidate: float) -> float:
        return self(candidate)


def test_the_same_in_every_process() -> None:
    """No address and no order of a set is in a hash."""
    code = "import json\nfrom tests.functions.test_source import FUNCTION, made\nprint(json.dumps(made(FUNCTION)[1]))"
    found = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", code],
                capture_output=True,
                text=True,
                cwd=ROOT,
                env={**environment(), "PYTHONHASHSEED": seed},
                check=True,
            ).stdout
        )
        for seed in ("1", "2")
    ]
    assert found[0] == found[1] == made(FUNCTION)[1]


# Modules.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A module with one beside it, and a package."""
    (tmp_path / "my_scores.py").write_text(
        "import os\nimport my_helper\n\ndef score(c):\n    return my_helper.K * c\n"
    )
    (tmp_path / "my_helper.py").write_text("K = 2\n")
    (tmp_path / "my_parts").mkdir()
    (tmp_path / "my_parts" / "__init__.py").write_text("")
    (tmp_path / "my_parts" / "deep.py").write_text(
        "from . import other\n\ndef score(c):\n    return other.K\n"
    )
    (tmp_path / "my_parts" / "other.py").write_text("K = 7\n")
    return tmp_path


def parts_of(folder: Path, module: str) -> Mapping[str, str]:
    file = module_file(folder, module)
    assert file is not None
    return hash_module(file)


def test_files_beside_a_module_count(folder: Path) -> None:
    """A change of what it imports from its own folder is one of its own."""
    before = parts_of(folder, "my_scores")
    assert set(before) == {"my_scores.py", "my_helper.py"}
    assert set(parts_of(folder, "my_parts.deep")) == {"deep.py", "other.py"}
    (folder / "my_helper.py").write_text("# two\nK = 2\n")
    assert parts_of(folder, "my_scores") == before
    (folder / "my_helper.py").write_text("K = 3\n")
    assert list_differences(before, parts_of(folder, "my_scores")) == ["my_helper.py"]


def test_importing(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """By file: an edited module is imported anew, and one of the same name elsewhere is another."""
    assert import_function("my_scores:score", folder)(1) == 2
    assert import_function("my_parts.deep:score", folder)(1) == 7
    (folder / "my_helper.py").write_text("K = 3\n")
    assert import_function("my_scores:score", folder)(1) == 3
    other = tmp_path_factory.mktemp("other")
    (other / "my_scores.py").write_text("def score(c):\n    return 100\n")
    assert import_function("my_scores:score", other)(1) == 100
    assert import_function("my_scores:score", folder)(1) == 3


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("my_score:score", r"there is no module 'my_score' in .*\. Did you mean 'my_scores'\?"),
        ("my_scores:scores", r"my_scores\.py has no function 'scores'\. Did you mean 'score'\?"),
        ("broken:score", r"broken\.py cannot be imported: ZeroDivisionError: division by zero"),
    ],
)
def test_importing_what_is_not_there(path: str, message: str, folder: Path) -> None:
    """What is missing is named with what is near."""
    (folder / "broken.py").write_text("1 / 0\n")
    with pytest.raises(PluginError, match=message):
        import_function(path, folder)
