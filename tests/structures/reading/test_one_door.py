"""No code of the package opens another door for structures, or runs what stands in a file."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FILES = sorted(path for room in ("invdesign", "surrogates") for path in (ROOT / room).rglob("*.py"))

NAMES = frozenset(
    [
        "CifParser",
        "CifFile",
        "CifBlock",
        "Poscar",
        "Chgcar",
        "MontyDecoder",
        "MontyEncoder",
        "loadfn",
        "AseAtomsAdaptor",
        "Xdatcar",
        "eval",
        "exec",
        "compile",
        "__import__",
        "dill",
        "joblib",
        "shelve",
        "marshal",
    ]
)
"""Names that are not to be used at all: parsers that make objects of what a file names, and ways to run text."""
CALLS = frozenset(
    [
        "toatoms",
        "get_atoms",
        "parse_structures",
        "from_str",
        "from_file",
        "from_dict",
        "as_structure",
        "ase.io.read",
        "ase.io.iread",
        "ase.io.read_cif",
        "ase.db.connect",
        "pickle.load",
        "pickle.loads",
        "pickle.Unpickler",
        "cloudpickle.load",
        "cloudpickle.loads",
        "yaml.load",
        "yaml.unsafe_load",
        "yaml.full_load",
        "monty.json.MontyDecoder",
        "jsonio.decode",
        "ase.io.jsonio.decode",
        "ase.io.jsonio.read_json",
        "numpy.load",
        "pandas.read_pickle",
        "torch.load",
        "os.system",
    ]
)
"""Attributes that are not to be called, by their last name, or by the whole name where that alone would be too common."""
HINTS = (
    *(name for name in NAMES if name != "compile"),
    *(name for name in CALLS if "." not in name),
    *("ase.io", "ase.db", "pickle", "yaml", "YAML", "jsonio", ".load(", "os.system", " compile("),
)
"""A source without any of these need not be parsed."""
ALLOWED = {
    # Outputs of programs that the user trusts and starts; the structure passes the gate.
    ("surrogates/external/readers.py", "ase.io.read"),
    # What the report writes for others; nothing is read.
    ("invdesign/report/export.py", "ase.db.connect"),
    # Over the pipe of a worker that this process started; never from a file.
    ("invdesign/worker.py", "pickle.loads"),
    ("invdesign/screening/crew.py", "pickle.loads"),
    ("invdesign/spaces/sampler.py", "pickle.loads"),
}


def dotted(node: ast.AST) -> str:
    """`a.b.c` of an expression of names and attributes; a call in it stands as `()`."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "()"


def imported(tree: ast.AST) -> dict[str, str]:
    """Full name by the name that an import binds."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.asname: alias.name for alias in node.names if alias.asname}
    return found


def doors(source: str) -> Iterator[str]:
    """Names and calls in a source that open another door."""
    if not any(hint in source for hint in HINTS):
        return
    tree = ast.parse(source)
    names = imported(tree)
    for short, full in names.items():
        if full.rsplit(".", 1)[-1] in NAMES or full in CALLS:
            yield full if full in CALLS else short
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in NAMES)
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        head, _, rest = name.partition(".")
        full = names.get(head, head) + (f".{rest}" if rest else "")
        last = full.rsplit(".", 1)[-1]
        if full in CALLS or (last in CALLS and "." in full) or last in {"eval", "exec"} or full in NAMES:
            safe = any(
                word.arg == "weights_only"
                and isinstance(word.value, ast.Constant)
                and word.value.value is True
                for word in node.keywords
            )
            if not (full == "torch.load" and safe):
                yield full
        if last == "YAML" and not any(
            word.arg == "typ" and isinstance(word.value, ast.Constant) and word.value.value in {"safe", "rt"}
            for word in node.keywords
        ):
            yield "YAML without typ"


@pytest.mark.parametrize(
    "source",
    [
        "from pymatgen.core import Structure\nStructure.from_file('a.cif')",
        "from pymatgen.core import Structure as S\nS.from_dict(data)",
        "import pymatgen.core as core\ncore.Structure.from_str(text, fmt='cif')",
        "from pymatgen.io.cif import CifParser",
        "from monty.json import MontyDecoder as D",
        "from monty.serialization import loadfn",
        "import ase.io\nase.io.read('a.xyz')",
        "from ase.io import read\nread('a.xyz')",
        "from ase.db import connect\nconnect('a.db')",
        "row.toatoms()",
        "eval(text)",
        "import pickle\npickle.load(stream)",
        "import torch\ntorch.load(path)",
        "import yaml\nyaml.load(text)",
        "from ruamel.yaml import YAML\nYAML(typ='unsafe').load(text)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
    ],
)
def test_the_check_sees_a_door(source: str) -> None:
    """Each of these would read or run what a file holds by another way."""
    assert list(doors(source))


def test_there_is_one_door() -> None:
    """Structures come in through `structures/reading` alone, and nothing that a file holds is run."""
    found = {
        (path.relative_to(ROOT).as_posix(), door)
        for path in FILES
        for door in doors(path.read_text(encoding="utf-8"))
    }
    assert len(FILES) > 100
    assert found - ALLOWED == set()
