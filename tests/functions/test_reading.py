"""Reading a module's text for a function: nothing of it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from invdesign.errors import PluginError
from invdesign.functions.reading import read_function

TEXT = """\
raise SystemExit("this module was imported")
import invdesign as inv
from invdesign import fitness as scored
from elsewhere import imported, other as renamed
UNITS = {"a": "GPa"}


@inv.fitness(provides={"a": "GPa"}, requires=["parameters"], batch=4)
def by_module(candidate):
    return 1.0


@scored({"a": "", "b": "eV"}, version="2", name="short")
def by_name(candidate):
    return 1.0


@inv.fitness(provides=UNITS, requires={"composition", "a"}, batch=2 * 2)
def computed(candidate):
    return 1.0


@inv.fitness(**UNITS)
def spread(candidate):
    return 1.0


def plain(candidate):
    return 1.0


try:
    class Height:
        pass
except ImportError:
    def fallback(candidate):
        return 1.0

made = assigned = by_module


async def later(candidate):
    return 1.0
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "scores.py"
    path.write_text(TEXT)
    return path


def test_decorated_functions(file: Path) -> None:
    """The decorator's arguments, under whatever name it was imported; what is computed is named."""
    by_module = read_function(file, "by_module")
    assert by_module.settings == {"provides": {"a": "GPa"}, "requires": ["parameters"], "batch": 4}
    assert (by_module.kind, by_module.decorated, by_module.unread, by_module.line) == (
        "function",
        True,
        (),
        9,
    )
    assert read_function(file, "by_name").settings == {
        "provides": {"a": "", "b": "eV"},
        "version": "2",
        "name": "short",
    }
    computed = read_function(file, "computed")
    assert (computed.settings, computed.unread) == ({"requires": ["a", "composition"]}, ("provides", "batch"))
    assert read_function(file, "spread").unread == ("provides",)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("plain", "function"),
        ("fallback", "function"),
        ("Height", "class"),
        ("imported", "other"),
        ("renamed", "other"),
        ("made", "other"),
        ("assigned", "other"),
    ],
)
def test_other_names(name: str, kind: str, file: Path) -> None:
    """What a name stands for, as far as the text says."""
    read = read_function(file, name)
    assert (read.kind, read.decorated) == (kind, False)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("by_modul", r"scores\.py has no function 'by_modul'. Did you mean 'by_module'\?"),
        ("xyz", r"scores\.py has no function 'xyz'. It has: UNITS, by_module, by_name, "),
        ("other", "has no function 'other'"),
        ("later", r"'later' \(line 42\) is async"),
    ],
)
def test_names_that_are_not_there(name: str, message: str, file: Path) -> None:
    """The nearest one is named, or all."""
    with pytest.raises(PluginError, match=message):
        read_function(file, name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"def f(:\n", r"scores\.py, line 1 is not Python: "),
        (b"\xff\xfe\x00", r"scores\.py.* is not Python: "),
    ],
)
def test_files_that_are_not_python(text: bytes, message: str, file: Path) -> None:
    """Said with the line."""
    file.write_bytes(text)
    with pytest.raises(PluginError, match=message):
        read_function(file, "f")
