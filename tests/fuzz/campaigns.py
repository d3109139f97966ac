"""Campaign files that nobody would write: every one gets an answer, none a stack trace, a hang or all of the memory.

`python -m tests.fuzz.campaigns --count 500 --seed 1` prints what it found, one JSON object a line; `--only 17` runs one
input and prints it. Inputs depend on seed and number alone.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import os
import random
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.examples import EVALUATORS, OPTIMIZERS, SPACES

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "cases" / "campaigns"
MEMORY = 6_000_000_000  # bytes of address space, of which imports take two
BUILT = 3  # candidates of a valid campaign
ANSWERS = {0, 2}  # exit codes of `validate`: a campaign is valid, or has mistakes
CONTROL = {chr(code) for code in range(32)} - {"\n", "\t"} | {chr(code) for code in range(127, 160)}
Node = Any
Place = tuple[Any, ...]

WILD: list[Node] = [
    *(
        0,
        -1,
        1,
        2,
        3.5,
        1e-300,
        1e300,
        -1e300,
        5e-324,
        2**31,
        2**53 + 1,
        2**63,
        2**64,
        -(2**63) - 1,
        10**30,
        10**400,
    ),
    *(True, False, None, "", " ", "nan", "inf", "-inf", ".nan", "1e999", "0x1F", "1_000", "No", "null", "~"),
    *([], {}, [[]], [{}], [[[]]], {"": None}, {"a": {"b": {}}}, [None], [0], [1, 2, 3], [10**30, 1, 1]),
    *(
        [100_000, 100_000, 100_000],
        [1e9, 1, 1],
        [-1, 1, 1],
        [0, 0, 0],
        [[1, 0, 0], [0, 1, 0], [0, 0, 0]],
        [0, 1e308],
    ),
    *(
        [1, 0],
        [1, 1],
        [-1e308, 1e308],
        [0, 10**18],
        [1e-300, 1e300],
        list(range(300)),
        [f"o{i}" for i in range(300)],
    ),
    *(
        "a" * 5000,
        "é" * 300,
        "\u202eabc",
        "\x1b[31mred\x1b[0m",
        "\x9b2J",
        "a\nb\nc",
        "\ud800",
        "𝔘𝔫",
        "Ⅷ",
        "½",
        "\x00",
        "[red]x[/red]",
    ),
    *(
        "/dev/zero",
        "/dev/null",
        "/dev/stdin",
        "..",
        ".",
        "/",
        "~",
        "~nobody",
        "a" * 300 + ".cif",
        "fifo",
        "fifo.csv",
    ),
    *(
        "loop.cif",
        "nowhere.cif",
        "zero.csv",
        "data",
        "own.yaml",
        "../own.yaml",
        "C:\\x.csv",
        "file:///etc/passwd",
        "http://x/y",
    ),
    *(
        ":",
        ":x",
        "x:",
        ":price",
        "os:system",
        "a.b:c",
        "..x:y",
        "x y:z",
        "price",
        "x",
        "kind",
        "genetic",
        "auto",
        "chgnet",
    ),
    *(
        "Li",
        "LiX",
        "Xx",
        "vacancy",
        "rest",
        "free",
        "Li+",
        "Li99999999999+",
        "O2-",
        "D",
        "Li0",
        "Li6PS5Cl",
        "(" * 500,
        "H" * 200,
    ),
    *(
        "x + y <= 1",
        "9**9**9 > x",
        "x" * 1000,
        "(" * 300 + "x" + ")" * 300,
        "x ** 1e308 <= 1",
        "not " * 200 + "x > 1",
        "x=",
        "x == y == z",
    ),
    *(
        {"min": 2, "max": 1},
        {"min": 0, "max": 10**30},
        {"real": [0, 0]},
        {"integer": [0, 10**18]},
        {"integer": [0, 10**30]},
    ),
    *(
        {"real": [1, 10], "step": 1e-300},
        {"categorical": []},
        {"categorical": ["a", "a"]},
        {"ordinal": [1, "a"]},
        {"real": [0, 1], "log": True},
    ),
    *(
        {"kind": "nothing"},
        {"kind": 5},
        {"kind": "genetic", "population": 10**18},
        {"kind": "random"},
        {"run": "."},
        {"table": "x.csv"},
    ),
]
KEYS = [
    *(
        "kind",
        "min",
        "max",
        "name",
        "path",
        "file",
        "run",
        "",
        " ",
        "a b",
        "é",
        "\u202e",
        "\x1b[2J",
        ":price",
        "price",
        "1",
        "None",
        "true",
    ),
    *(
        "gate",
        "timeout",
        "on_demand",
        "when",
        "step",
        "cell",
        "cells",
        "sites",
        "columns",
        "components",
        "provides",
        "prior",
        "members",
    ),
    *(
        "a" * 300,
        "x:y",
        "-",
        "structure:x",
        "__class__",
        "self",
        "total",
        "weight",
        "seeds",
        "constraints",
        "[0]",
        "model_config",
    ),
]


@dataclass(frozen=True)
class Finding:
    """One input that was not answered as promised."""

    number: int
    what: str
    detail: str


class HangError(BaseException):
    """The time for one input is over; no `except Exception` may swallow it."""


# Seeds.


def _campaign(space: Node, evaluate: Node, objective: str, optimizer: Node) -> Node:
    return {
        "version": 1,
        "name": "fuzzed",
        "seed": 1,
        "space": space,
        "evaluate": evaluate,
        "objectives": [{"minimize": objective}],
        "optimizer": optimizer,
        "budget": {"candidates": 20},
    }


@cache
def seeds() -> tuple[Node, ...]:
    """Campaigns that are right, or nearly so: those of the project, and one for every example of a plug-in."""
    from invdesign.campaign.document import parse_yaml
    from invdesign.errors import CampaignError
    from invdesign.settings import load

    files = sorted((ROOT / "campaigns").glob("*.yaml"))
    files += sorted(SHARED.glob("*.yaml")) if SHARED.is_dir() else []
    found: list[Node] = []
    for file in files:
        with contextlib.suppress(CampaignError, UnicodeDecodeError):
            found.append(parse_yaml(file.read_text(encoding="utf-8")).value)
    landscape = [{"landscape": {"function": "sphere"}}]
    numbers = {"kind": "parameters", **SPACES["parameters"][0]}
    for kind, examples in SPACES.items():
        found += [_campaign({"kind": kind, **item}, landscape, "height", "random") for item in examples]
    for kind, examples in OPTIMIZERS.items():
        found += [_campaign(numbers, landscape, "height", {"kind": kind, **item}) for item in examples]
    crystals = {"kind": "substitution", **SPACES["substitution"][0]}
    for kind, examples in EVALUATORS.items():
        for item in examples:
            name = next(iter(load("evaluators", {"kind": kind, **item}, trust_code=True).provides))
            settings = {
                key: value
                for key, value in item.items()
                if kind != "function" or key not in {"name", "folder"}
            }
            found.append(_campaign(copy.deepcopy(crystals), [{kind: settings}], name, "genetic"))
    return tuple(json.loads(json.dumps(item)) for item in found)


# Mutations.


def _places(node: Node, place: Place = ()) -> Iterator[Place]:
    yield place
    if isinstance(node, dict):
        for key in node:
            yield from _places(node[key], (*place, key))
    elif isinstance(node, list):
        for number in range(len(node)):
            yield from _places(node[number], (*place, number))


def _at(node: Node, place: Place) -> Node:
    for step in place:
        node = node[step]
    return node


def _replace(data: Node, rng: random.Random) -> None:
    """Put a wild value in the place of any node."""
    place = rng.choice([found for found in _places(data) if found])
    _at(data, place[:-1])[place[-1]] = copy.deepcopy(rng.choice(WILD))


def _splice(data: Node, rng: random.Random) -> None:
    """Put a node of another campaign in the place of any node."""
    other = rng.choice(seeds())
    place = rng.choice([found for found in _places(data) if found])
    _at(data, place[:-1])[place[-1]] = copy.deepcopy(_at(other, rng.choice(list(_places(other)))))


def _delete(data: Node, rng: random.Random) -> None:
    place = rng.choice([found for found in _places(data) if found])
    del _at(data, place[:-1])[place[-1]]


def _rename(data: Node, rng: random.Random) -> None:
    """Call a key otherwise, in its place."""
    maps = [node for node in (_at(data, place) for place in _places(data)) if isinstance(node, dict) and node]
    if maps:
        node = rng.choice(maps)
        old, new = rng.choice(list(node)), rng.choice(KEYS)
        items = [(new if key == old else key, value) for key, value in node.items()]
        node.clear()
        node.update(items)


def _insert(data: Node, rng: random.Random) -> None:
    """Add an entry to a map or list; in a list also one that is there."""
    nodes = [node for node in (_at(data, place) for place in _places(data)) if isinstance(node, dict | list)]
    node = rng.choice(nodes)
    if isinstance(node, dict):
        node[rng.choice(KEYS)] = copy.deepcopy(rng.choice(WILD))
    else:
        node.insert(rng.randint(0, len(node)), copy.deepcopy(rng.choice([*node, *WILD[:40]])))


def _swap(data: Node, rng: random.Random) -> None:
    """Exchange two nodes, neither within the other."""
    first, second = (rng.choice([found for found in _places(data) if found]) for _ in range(2))
    shorter = min(len(first), len(second))
    if first[:shorter] != second[:shorter]:
        one, other = _at(data, first), _at(data, second)
        _at(data, first[:-1])[first[-1]], _at(data, second[:-1])[second[-1]] = other, one


def _nest(data: Node, rng: random.Random) -> None:
    """Wrap a node into a list or a map, some levels deep."""
    place = rng.choice([found for found in _places(data) if found])
    node = _at(data, place)
    for _ in range(rng.choice([1, 1, 1, 2, 20, 200])):
        node = [node] if rng.random() < 0.5 else {rng.choice(KEYS): node}
    _at(data, place[:-1])[place[-1]] = node


MUTATIONS: list[Callable[[Node, random.Random], None]] = [
    *([_replace] * 8),
    *(_splice, _splice, _delete, _rename, _insert, _insert, _swap, _nest),
]


def _bytes(data: bytes, rng: random.Random) -> bytes:
    """Damage the file itself."""
    text = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5, 30])):
        at = rng.randrange(len(text) + 1)
        kind = rng.randrange(4)
        if kind == 0:
            text[at:at] = rng.choice(
                [
                    b"\x00",
                    b"\xff",
                    b"\xef\xbb\xbf",
                    b"\r",
                    b"\t",
                    b"&a ",
                    b"*a",
                    b"!!python/object:os.system ",
                    b"---\n",
                    b"%YAML 1.1\n",
                    b"<<: ",
                    b"? ",
                    b"- ",
                    b": ",
                    b"[",
                    b"{",
                    b'"',
                    b"'",
                    b"|\n",
                    b"\x1b",
                    b"\xc2\x85",
                ]
            )
        elif kind == 1:
            del text[at : at + rng.choice([1, 3, 20])]
        elif kind == 2 and at < len(text):
            text[at] = rng.randrange(256)
        else:
            text[at:at] = text[max(0, at - rng.choice([5, 40, 400])) : at]
    return bytes(text)


def made(seed: int, number: int) -> bytes:
    """The content of one campaign file."""
    rng = random.Random(f"{seed}-{number}")
    data = copy.deepcopy(rng.choice(seeds()))
    for _ in range(rng.choice([1, 1, 1, 1, 2, 2, 3, 6])):
        with contextlib.suppress(IndexError, TypeError, ValueError):  # nothing is left to mutate
            rng.choice(MUTATIONS)(data, rng)
    text = json.dumps(data, ensure_ascii=rng.random() < 0.7, indent=rng.choice([None, 1]))
    content = text.encode(errors="surrogatepass")
    return _bytes(content, rng) if rng.random() < 0.15 else content


# Running one.


def _stop(*_: object) -> None:
    raise HangError


def _judged(content: bytes, folder: Path, seconds: float) -> tuple[str, str]:
    """(what is wrong, details) of the answer to one campaign; empty where nothing is."""
    file = folder / "own.yaml"
    file.write_bytes(content)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return _validated(file) or _built(file)
    except HangError:
        return "hang", "".join(traceback.format_exc().splitlines(keepends=True)[-14:])
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is a finding
        return type(error).__name__, "".join(traceback.format_exception(error)[-8:])
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _validated(file: Path) -> tuple[str, str] | None:
    from typer.testing import CliRunner

    from invdesign.cli.app import app

    done = CliRunner().invoke(app, ["validate", str(file)], prog_name="invdesign")
    said = done.stdout + done.stderr
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    if done.exit_code not in ANSWERS:
        return f"exit {done.exit_code}", said
    if done.exit_code and not done.stderr.strip():
        return "silence", said
    if "Traceback" in said or CONTROL & set(said):
        return "trace or control characters", said
    return ("", "") if done.exit_code else None


def _built(file: Path) -> tuple[str, str]:
    """Build some candidates of a valid campaign."""
    from invdesign.campaign.load import load_campaign
    from invdesign.errors import InvdesignError
    from invdesign.rng import rng_for

    space = load_campaign(file).space
    starts = [operator for operator in space.operators().values() if operator.arity == 0]
    for number in range(BUILT if starts else 0):
        genome = starts[number % len(starts)].apply((), rng_for(1, number, "fuzz"))
        if genome is not None:
            with contextlib.suppress(InvdesignError):
                space.build(genome)
    return "", ""


def furnish(folder: Path) -> None:
    """What paths may lead to: a pipe, a device, loops and links to nowhere, and the data of the project's campaigns."""
    os.mkfifo(folder / "fifo")
    os.mkfifo(folder / "fifo.csv")
    (folder / "loop.cif").symlink_to("loop.cif")
    (folder / "nowhere.cif").symlink_to("gone.cif")
    (folder / "zero.csv").symlink_to("/dev/zero")
    for source in [*(ROOT / "campaigns").iterdir(), *(SHARED.iterdir() if SHARED.is_dir() else ())]:
        if not (folder / source.name).exists() and source.suffix != ".yaml":
            (folder / source.name).symlink_to(source)


def findings(seed: int, numbers: range, seconds: float) -> Iterator[Finding]:
    """Run inputs one after the other in this process."""
    signal.signal(signal.SIGPROF, _stop)
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        furnish(Path(name))
        for number in numbers:
            what, detail = _judged(made(seed, number), Path(name), seconds)
            if what:
                yield Finding(number, what, detail)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--only", type=int)
    given = parser.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, limit))
    numbers = range(given.start, given.start + given.count)
    if given.only is not None:
        sys.stdout.write(made(given.seed, given.only).decode(errors="replace") + "\n")
        numbers = range(given.only, given.only + 1)
    for finding in findings(given.seed, numbers, given.seconds):
        sys.stdout.write(json.dumps(asdict(finding)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
