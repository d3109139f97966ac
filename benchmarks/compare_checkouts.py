"""Whether two checkouts of the project do the same, down to the rows of their stores.

`python benchmarks/compare_checkouts.py BEFORE AFTER [--only NAME ...] [--folder WORK]`, with the Python of an environment
that has what the project depends on. BEFORE and AFTER are folders of checkouts. It shows that a refactoring changed nothing: one
line per check, `NAME ... equal` or the first differences, at the end `equal`, or exit code 1.

Each side works in processes of its own, where PYTHONPATH names its checkout alone and the entry points are those of its
pyproject.toml; names of modules may differ. What runs on both sides are the command line (`python -m invdesign`), campaign
files, and of Python `invdesign.load_campaign` and `invdesign.Run.create(...).execute()`. Campaigns, pages, examples of
settings and kept stores are read from BEFORE and handed to both. Costly relaxations stop after `RELAX_STEPS` steps.

Stores are read with sqlite3. Left out are times, sessions but for the fingerprints of evaluators, and checksums; paths are
replaced. Sentences are blanked: strings under the keys in `SENTENCES`, and the third part of a failure. The digest of a store is
the sha256 of what is left. Of commands that print JSON, the same is compared; of `--help` the options, of the report the
numbers.

Results are kept in WORK by commit (of a clean checkout), by BEFORE's commit and by this script's text: what is there is not
run again. `--only` takes shell patterns; `--list` prints the names.
"""

from __future__ import annotations

import argparse
import fcntl
import fnmatch
import gzip
import hashlib
import json
import math
import os
import re
import runpy
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Data = dict[str, Any]
RELAX_STEPS = 2
SENTENCES = frozenset(
    {"message", "messages", "note", "notes", "reason", "details", "words", "remarks", "withdrawn"}
)
TIMES = frozenset({"elapsed", "candidates_per_hour", "time_left"})  # of the status
MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:[\d.:+]*)?")
DROPPED = {  # columns by table
    "events": {"time"},
    "candidates": {"finished"},
    "*": {"checksum"},
}
WARM = (  # what is imported once for all commands of a side; nothing of the project
    "torch",
    "botorch",
    "sklearn.ensemble",
    "scipy.stats",
    "pymatgen.core",
    "pymatgen.symmetry.analyzer",
    "ase",
    "pandas",
    "plotly",
    "sqlalchemy",
    "typer",
    "pydantic",
)
LIMIT = 300.0  # seconds of one command

CHEAP = '''\
"""Cheap functions of any candidate, some of which fail; one kills the process at the candidate that DIE_AT names."""

import math
import os
import signal


def numbers(candidate):
    values = [float(v) if not isinstance(v, str) else (sum(map(ord, v)) % 97) / 97 for v in candidate.parameters.values()]
    crystal = candidate.structures.get("initial") if hasattr(candidate, "structures") else None
    if crystal is not None:
        z = [site.specie.Z for site in crystal]
        apart = crystal.distance_matrix
        pairs = sum(z[i] * z[j] / (1 + apart[i][j]) for i in range(len(z)) for j in range(i)) / sum(z) ** 2
        values += [float(pairs), sum(z) / len(z) / 30, crystal.volume / len(z) / 40]
    if not values and candidate.composition is not None:
        values.append(sum(element.Z * amount for element, amount in candidate.composition.items()) / 100)
    return values


def height(candidate):
    if os.environ.get("DIE_AT") == str(candidate.id):
        os.kill(os.getpid(), signal.SIGKILL)
    found = sum((v - 0.3 - 0.1 * i) ** 2 for i, v in enumerate(numbers(candidate)))
    if int(found * 1e6) % 13 == 5:
        raise ValueError("an unlucky number")
    return found


def width(candidate):
    found = sum(math.cos(3 * v + i) + 0.1 * v for i, v in enumerate(numbers(candidate)))
    return found, 0.01


def rough(candidate):
    return 1.1 * sum((v - 0.25 - 0.1 * i) ** 2 for i, v in enumerate(numbers(candidate))) + 0.02
'''

# Campaigns.

SPACES: Mapping[str, Data] = {
    "parameters": {
        "kind": "parameters",
        "parameters": {
            "x": {"real": [0, 1]},
            "y": {"real": [0.01, 1], "log": True},
            "n": {"integer": [0, 4]},
            "c": {"categorical": ["EC", "DMC", "PC"]},
        },
        "constraints": ["x + y <= 1.5"],
    },
    "mixture": {
        "kind": "mixture",
        "mixtures": {
            "solvent": {"components": ["EC", "DMC", "EMC", "FEC"], "at_most": 3, "present_from": 0.05},
            "salt": {"components": {"LiPF6": [0, 1.5], "LiFSI": [0, 1.5]}, "total": [0.8, 1.5]},
        },
    },
    "ordering": {
        "kind": "ordering",
        "parent": "layered",
        "primitive": True,
        "cell": [3, 2, 1],
        "sites": {"A": {"Li": 0.5, "vacancy": 0.5}, "M": {"Co": 4, "Ni": 2}},
    },
    "pool": {
        "kind": "pool",
        "source": "data/lithium_phases.csv",
        "id": "name",
        "columns": ["volume_per_atom"],
        "composition": "formula",
        "structure": "cif",
        "features": {"columns": ["volume_per_atom"], "composition": True},
    },
    "substitution": {
        "kind": "substitution",
        "parent": "antiperovskite",
        "cell": [1, 1, 2],
        "rattle": 0.05,
        "sites": {"A": ["Li"], "B": ["F", "O", "S", "Se"], "X": ["Cl", "Br", "I", "S", "Se"]},
    },
}
NUMBERS = {
    "kind": "parameters",
    "parameters": {f"x{i}": {"real": [0, 1]} for i in range(3)},
}  # all that CMA-ES searches
OPTIMIZERS: Mapping[str, Data] = {
    "random": {"kind": "random", "batch": 5},
    "bayesian": {"kind": "bayesian", "initial": 6, "batch": 2, "effort": 0.2},
    "genetic": {"kind": "genetic", "population": 6},
    "swarm": {"kind": "swarm", "particles": 5},
    "cma": {"kind": "cma", "population": 4},
    "portfolio": {"kind": "portfolio", "members": [{"kind": "genetic", "population": 6}, "random"]},
    "auto": {"kind": "auto", "seconds": 1},
}
FITNESS = {"cheap:height": {"provides": {"height": "m"}, "gate": {"height": {"max": 50}}}}
SECOND = {"cheap:width": {"provides": {"width": "m"}}}
MODELLED = frozenset({"bayesian"})
FEW, MANY = 14, 26  # candidates, with models and without


def campaign(optimizer: Any, space: Data, objectives: int = 2, **changes: Any) -> Data:
    """A campaign on the cheap functions."""
    kind = optimizer["kind"] if isinstance(optimizer, dict) else optimizer
    if kind == "cma" and space is SPACES["parameters"]:
        space = NUMBERS
    data: Data = {
        "version": 1,
        "name": "compared",
        "seed": 11,
        "space": space,
        "evaluate": [FITNESS, SECOND][:objectives],
        "objectives": [{"minimize": "height"}, {"maximize": "width"}][:objectives],
        "optimizer": optimizer,
        "budget": {"candidates": FEW if kind in MODELLED else MANY},
        "engine": {"kind": "local", "workers": 0},
    }
    if objectives == 2:
        data["constraints"] = [{"width": {"max": 2.5}}]
    return {**data, **changes}


def settings_of(stage: Any) -> tuple[str, Data]:
    """Name and settings of a stage as campaigns write it."""
    if isinstance(stage, str):
        return stage, {}
    (name, settings), *_ = stage.items()
    return name, dict(settings or {})


def cheapened(data: Data) -> Data:
    """The same campaign in seconds: short relaxations, no delays, a small budget; costs and speed that are not measured."""
    stages = [settings_of(stage) for stage in data["evaluate"]]
    costly = any(name == "relax" for name, _ in stages)
    for name, settings in stages:
        if name == "relax":
            settings.update(steps=RELAX_STEPS, unconverged="keep")
        if name == "landscape":
            settings["delay"] = 0
    most = 10 if costly else 40
    optimizer = data.get("optimizer", "auto")
    optimizer = {"kind": optimizer} if isinstance(optimizer, str) else dict(optimizer)
    if optimizer["kind"] == "bayesian":
        names = [settings.get("name", name) for name, settings in stages]
        optimizer.update(initial=6, effort=0.2)
        optimizer.setdefault("costs", {name: 1 + 10 * place for place, name in enumerate(names)})
        most = min(most, FEW)
    if optimizer["kind"] == "genetic" and costly:
        optimizer["population"] = 4
    if optimizer["kind"] == "auto":
        optimizer.setdefault("seconds", 1)
    budget = {**data.get("budget", {})}
    budget["candidates"] = min(most, budget.get("candidates", most))
    return {
        **data,
        "evaluate": [{name: settings} for name, settings in stages],
        "optimizer": optimizer,
        "budget": budget,
        "engine": {"kind": "local", "workers": 0},
    }


def completed(block: Data) -> Data | None:
    """A campaign around a part of one that a page shows; None where it is not its space or its optimizer."""
    if not isinstance(block, dict) or not {"space", "optimizer"} & set(block) or "prior" in str(block):
        return None
    objectives = 2 if "space" in block else 1
    optimizer = {"kind": "genetic", "population": 6}
    whole = campaign(optimizer, SPACES["parameters"], objectives)
    if "optimizer" in block and "costs" not in str(block):
        whole = campaign(block["optimizer"], SPACES["parameters"], objectives)
    return cheapened({**whole, **({"space": block["space"]} if "space" in block else {})})


def parsed(text: str) -> Any:
    """YAML 1.2 as plain data."""
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True).load(text)


# Sides.


def text_of_entry_points(checkout: Path) -> tuple[str, str]:
    """(PKG-INFO, entry_points.txt) of a checkout's pyproject.toml."""
    project = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needs = "".join(f"Requires-Dist: {item}\n" for item in project["dependencies"])
    groups = {**project.get("entry-points", {}), "console_scripts": project["scripts"]}
    lines = [
        line
        for group, found in groups.items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in found.items()), "")
    ]
    info = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n{needs}"
    return info, "\n".join(lines)


def commit_of(checkout: Path) -> str:
    """The commit of a clean checkout; else a mark that is kept nowhere."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", checkout, *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", "invdesign", "surrogates", "pyproject.toml")
        return "changed" if changed else git("rev-parse", "HEAD")[:12]
    except (OSError, subprocess.CalledProcessError):
        return "changed"


class Side:
    """One checkout, and a process of it that forks one child per command."""

    def __init__(self, checkout: Path, folder: Path, commit: str) -> None:
        self.checkout, self.folder, self.commit = checkout, folder, commit
        self._server: subprocess.Popen[str] | None = None
        self._taught: set[str] = set()  # kinds of jobs whose modules the process knows
        self.entry_points = folder / "entry_points"
        egg = self.entry_points / "invdesign.egg-info"
        egg.mkdir(parents=True, exist_ok=True)
        for name, text in zip(("PKG-INFO", "entry_points.txt"), text_of_entry_points(checkout), strict=True):
            (egg / name).write_text(text, encoding="utf-8")

    @property
    def environment(self) -> dict[str, str]:
        """That of its processes."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        more = {"OMP_NUM_THREADS": "1", "COLUMNS": "200", "PATH": path, "CXX": "no-compiler"}
        return {**os.environ, **more, "PYTHONPATH": f"{self.entry_points}{os.pathsep}{self.checkout}"}

    def do(self, job: Data) -> Data:
        """Have a command done: exit code, what it printed."""
        if self._server is None:
            self._server = subprocess.Popen(
                [sys.executable, "-P", __file__, "--serve"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=self.environment,
                cwd=self.folder,
            )
            self._check(json.loads(self._read()))
        assert self._server.stdin
        kind = job["arguments"][0] if job.get("arguments") else json.dumps(job.get("kind"))
        if kind not in self._taught:
            self._taught.add(kind)
            job = {**job, "teach": str(self.folder / "modules")}
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()
        found: Data = json.loads(self._read())
        return found

    def _read(self) -> str:
        assert self._server
        assert self._server.stdout
        line = self._server.stdout.readline()
        if not line:
            raise SystemExit(f"the process of {self.checkout} ended")
        return line

    def _check(self, imported: Mapping[str, str]) -> None:
        for name, file in imported.items():
            if self.checkout not in Path(file).parents:
                raise SystemExit(f"{name} of {self.checkout} was imported from {file}")

    def close(self) -> None:
        """End its process."""
        if self._server is not None:
            assert self._server.stdin
            self._server.stdin.close()
            self._server.wait()
            self._server = None


def serve() -> None:
    """Do the jobs that standard input names, each in a child of this process."""
    import importlib
    import importlib.util

    for name in WARM:
        with suppress(ImportError):
            importlib.import_module(name)
    answers = os.fdopen(os.dup(1), "w")
    found = {name: importlib.util.find_spec(name) for name in ("invdesign", "surrogates")}
    answers.write(json.dumps({name: spec.origin for name, spec in found.items() if spec}) + "\n")
    answers.flush()
    for line in sys.stdin:
        job = json.loads(line)
        answers.write(json.dumps(_forked(job)) + "\n")
        answers.flush()
        _learn(job)


def _learn(job: Data) -> None:
    """Import what a job's child imported, so that the next children need not."""
    import importlib

    file = Path(job.get("teach", ""))
    if not file.is_file():
        return
    for name in file.read_text(encoding="utf-8").splitlines():
        if name not in sys.modules and not name.endswith("__main__"):
            with suppress(Exception):
                importlib.import_module(name)
    file.unlink()


def _forked(job: Data) -> Data:
    out, err = Path(job["cwd"]) / ".stdout", Path(job["cwd"]) / ".stderr"
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.chdir(job["cwd"])
            os.environ.update(job.get("environment", {}))
            for number, target in ((0, os.devnull), (1, out), (2, err)):
                os.dup2(os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644), number)
            code = _done(job)
            if job.get("teach"):
                Path(job["teach"]).write_text("\n".join(sys.modules), encoding="utf-8")
        except Exception:  # noqa: BLE001  # whatever it was, the other process reads its trace
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    deadline = time.monotonic() + LIMIT
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.005)
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in (out, err)]
    return {"code": os.waitstatus_to_exitcode(ended[1]), "out": texts[0], "err": texts[1]}


def _done(job: Data) -> int:
    if job["do"] == "search":
        import invdesign

        run = invdesign.Run.create(invdesign.load_campaign(job["file"], trust_code=True), job["run"])
        run.execute()
        run.close()
        return 0
    return _command(job["arguments"])


def _command(arguments: list[str]) -> int:
    """`python -m invdesign ...` in this process."""
    sys.argv = ["invdesign", *arguments]
    try:
        runpy.run_module("invdesign", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def options_in(text: str) -> tuple[list[str], list[str]]:
    """(usage, options and arguments with what stands in brackets behind them; names of commands) of a help text."""
    shown: list[str] = re.findall(r"^Usage: .*", text, re.MULTILINE)
    commands: list[str] = []
    section = ""
    for line in text.splitlines():
        heading = re.fullmatch(r"(\w+):", line)
        if heading:
            section = heading[1]
            continue
        entry = re.match(r"  (\S.*?)(?:  +(.*))?$", line)
        if section == "Commands" and entry and entry[2] and " " not in entry[1]:
            commands.append(entry[1])
        elif section in ("Options", "Arguments") and entry:
            shown.append(f"{entry[1]} | {entry[2] or ''}")
        elif section in ("Options", "Arguments") and line.strip():
            shown[-1] += f" {line.strip()}"
    heads = [line.partition(" | ") for line in shown]
    return [" ".join([head, *re.findall(r"\[[^\]]*\]", rest)]) for head, _, rest in heads], commands


# What is compared.


def blanked(value: Any, key: str = "") -> Any:
    """The value without its sentences and times."""
    if isinstance(value, dict):
        hidden = key in SENTENCES
        return {
            name: "" if hidden and isinstance(item, str) else blanked(item, "" if hidden else name)
            for name, item in value.items()
            if name not in TIMES
        }
    if isinstance(value, list):
        if key == "failure" and len(value) == 3:
            return [*value[:2], ""]
        return ["" if key in SENTENCES and isinstance(item, str) else blanked(item, key) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str) and MOMENT.search(value):
        return MOMENT.sub("a moment", value)
    return "" if key in SENTENCES and isinstance(value, str) else value


def _column(table: str, name: str, value: Any) -> Any:
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, str) and value[:1] in ("{", "["):
        with suppress(ValueError):
            value = json.loads(value)
    if name == "cost":
        return sorted(value)
    if name == "request" or (table == "tasks" and name == "lost"):
        return bool(value)
    return blanked({name: value})[name]


def rows_of(connection: sqlite3.Connection, table: str) -> list[Data]:
    """A table without what differs from run to run."""
    dropped = DROPPED.get(table, set()) | DROPPED["*"]
    found = connection.execute(f'select * from "{table}" order by 1')
    names = [column[0] for column in found.description]
    return [
        {
            name: _column(table, name, value)
            for name, value in zip(names, row, strict=True)
            if name not in dropped
        }
        for row in found
    ]


def store_facts(folder: Path, *, scheduled: bool = True) -> Data:
    """What is compared of a run's store; the order in which tasks were done only where that is the same."""
    with closing(sqlite3.connect(folder / "run.sqlite")) as connection:
        tables = [
            name
            for (name,) in connection.execute("select name from sqlite_master where type = 'table'")
            if not name.startswith("sqlite_")
        ]
        facts: Data = {table: rows_of(connection, table) for table in sorted(tables) if table != "sessions"}
        environments = [
            json.loads(text) for (text,) in connection.execute("select environment from sessions order by id")
        ]
    facts["meta"] = {row["key"]: row["value"] for row in facts["meta"]}
    for name in (
        "created",
        "rows",
        "budget_change",
    ):  # a time; counts, sessions' too; the number of a request
        facts["meta"].pop(name, None)
    if "forked_from" in facts["meta"]:
        facts["meta"]["forked_from"].pop("digest", None)  # of sentences too
    facts["fingerprints"] = environments[-1].get("evaluators") if environments else None
    if not scheduled:
        del facts["tasks"]
        for row in facts["events"]:
            del row["task"]
        said = {row.pop("id"): row for row in facts["evaluations"]}
        places = {number: [row["candidate"], row["stage"]] for number, row in said.items()}
        for row in said.values():
            row["source"] = places.get(row["source"])
        facts["evaluations"] = sorted(said.values(), key=lambda row: (row["candidate"], row["stage"]))
    return facts


def differences(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Where two JSON values differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in [*before, *(name for name in after if name not in before)]:
            here = f"{path}.{name}" if path else str(name)
            if name not in after or name not in before:
                yield f"{here}: only {'before' if name in before else 'after'}"
            else:
                yield from differences(before[name], after[name], here)
    elif isinstance(before, list) and isinstance(after, list):
        for place, (one, other) in enumerate(zip(before, after, strict=False)):
            yield from differences(one, other, f"{path}[{place}]")
        if len(before) != len(after):
            yield f"{path}: {len(before)} before, {len(after)} after"
    elif before != after or type(before) is not type(after):
        yield f"{path}: {json.dumps(before)[:80]} before, {json.dumps(after)[:80]} after"


def without_descriptions(value: Any, *, named: bool = False) -> Any:
    """A JSON Schema without its descriptions; a property of that name stays."""
    if isinstance(value, dict):
        return {
            name: without_descriptions(item, named=name in ("properties", "$defs") and not named)
            for name, item in value.items()
            if named or name != "description"
        }
    return [without_descriptions(item) for item in value] if isinstance(value, list) else value


# Work.


@dataclass
class Work:
    """A case on one side: a folder, and what is done in it."""

    side: Side
    before: Path
    folder: Path
    stopped: Path  # where BEFORE's runs lie

    def write(self, name: str, content: Any) -> Path:
        """A file of the case; data as JSON, which is YAML."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            content if isinstance(content, str) else json.dumps(content, indent=1), encoding="utf-8"
        )
        return path

    def search(self, data: Data, name: str = "run", **environment: str) -> Data:
        """Write a campaign, and run it to its end."""
        self.supply()
        file = self.write(f"{name}.yaml", data)
        kinds = [data["space"]["kind"], json.dumps(data.get("optimizer")), *map(str, data["evaluate"])]
        job = {"do": "search", "file": str(file), "run": name, "environment": environment, "kind": kinds}
        done = self.side.do({**job, "cwd": str(self.folder)})
        facts: Data = {"code": done["code"]}
        if done["code"] > 0:
            kinds = re.findall(r"^(?:\w+\.)*(\w*(?:Error|Exception|Exit))\b", done["err"], re.MULTILINE)
            facts["error"] = kinds[-1] if kinds else ""
        if (self.folder / name / "run.sqlite").exists():
            facts["store"] = self.store(name)
        return facts

    def supply(self) -> None:
        """Put the cheap functions and the data of the shipped campaigns beside the campaign."""
        self.write("cheap.py", CHEAP)
        if not (self.folder / "data").exists():
            shutil.copytree(self.before / "campaigns" / "data", self.folder / "data")

    def say(self, *words: object) -> Data:
        """A command: exit code, and what it printed where that is JSON."""
        job = {"do": "command", "arguments": [str(word) for word in words], "cwd": str(self.folder)}
        done = self.side.do(job)
        facts: Data = {"code": done["code"]}
        if "Traceback" in done["err"]:
            facts["trace"] = True
        with suppress(ValueError):
            facts["json"] = self.placed(blanked(json.loads(done["out"])))
        return facts

    def printed(self, *words: object) -> str:
        """What a command prints."""
        job = {"do": "command", "arguments": [str(word) for word in words], "cwd": str(self.folder)}
        return str(self.side.do(job)["out"])

    def read(self, *names: str, run: str = "run") -> Data:
        """What commands that look say of a run."""
        said = {name: self.say(name, run, "--trust-code", "--json") for name in names}
        for number in (0, 3):
            said[f"show {number}"] = self.say("show", run, number, "--trust-code", "--json")
        return said

    def store(self, run: str = "run", *, scheduled: bool = True) -> Data:
        """What the store of a run holds."""
        facts: Data = self.placed(store_facts(self.folder / run, scheduled=scheduled))
        text = json.dumps(facts, sort_keys=True)
        return {"digest": hashlib.sha256(text.encode()).hexdigest(), **facts}

    def placed(self, value: Any) -> Any:
        """The value with the case's own folder by another name."""
        text = json.dumps(value).replace(str(self.folder), "WORK")
        return json.loads(text.replace(str(self.side.checkout), "CHECKOUT"))

    def files(self, folder: str) -> Data:
        """Hashes of the files in a folder."""
        root = self.folder / folder
        found = {}
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            text = path.read_bytes().replace(str(self.folder).encode(), b"WORK")
            found[str(path.relative_to(root))] = hashlib.sha256(text).hexdigest()
        return found


Case = Callable[[Work], Data]
LOOKS = ("status", "top")


def plain(data: Data, looks: tuple[str, ...] = LOOKS) -> Case:
    """Run a campaign and look at it."""

    def case(work: Work) -> Data:
        facts = work.search(data)
        return {**facts, "said": work.read(*looks)} if "store" in facts else facts

    return case


def of_file(text: str, modules: Mapping[str, str], *, run: bool = True) -> Case:
    """Validate a campaign as it is written, and run it made cheap."""

    def case(work: Work) -> Data:
        work.supply()
        for name, content in modules.items():
            work.write(name, content)
        work.write("whole.yaml", text)
        valid = work.say("validate", "whole.yaml", "--json", "--trust-code")
        facts: Data = {"validate": valid}
        if run and valid["code"] == 0:
            facts |= plain(cheapened(parsed(text)), (*LOOKS, "recommend"))(work)
        return facts

    return case


def of_examples(before: Path) -> dict[str, Case]:
    """Spaces and optimizers with all settings that the contracts are checked on."""
    found = runpy.run_path(str(before / "tests" / "examples.py"))
    cases: dict[str, Case] = {}
    genetic = OPTIMIZERS["genetic"]
    for kind, examples in found["SPACES"].items():
        for number, settings in enumerate(examples):
            space = {"kind": kind, **settings}
            if kind == "pool":
                space["source"] = "data/lithium_phases.csv"
            cases[f"space:{kind}:{number}"] = plain(campaign(genetic, space), ())
    for kind, examples in found["OPTIMIZERS"].items():
        for number, settings in enumerate(examples):
            optimizer = {"kind": kind, **settings}
            if kind == "auto":
                optimizer = {**optimizer, "seconds": 1 + 100 * number}
            budget = {"candidates": 12 if kind in ("bayesian", "auto") else 40}
            data = campaign(optimizer, SPACES["parameters"], 1 + number % 2, budget=budget)
            cases[f"settings:{kind}:{number}"] = plain(data, ())
    return cases


def of_pages(before: Path) -> dict[str, Case]:
    """The shipped campaigns, and those on pages; parts of campaigns on pages are completed."""
    cases: dict[str, Case] = {}
    shipped = []
    for file in sorted((before / "campaigns").glob("*.yaml")):
        text = file.read_text(encoding="utf-8")
        measured = "experiment" in text
        shipped.append(without_descriptions(parsed(text)))
        cases[f"campaign:{file.stem}"] = of_file(text, {}, run=not measured)
    for page in [before / "README.md", *sorted((before / "docs").rglob("*.md"))]:
        text = page.read_text(encoding="utf-8")
        stem = page.relative_to(before).with_suffix("").as_posix().removeprefix("docs/")
        blocks = re.findall(r"^```yaml[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        for number, block in enumerate(blocks):
            with suppress(ValueError, TypeError):
                data = parsed(block)
                name = f"page:{stem}:{number}"
                if isinstance(data, dict) and "version" in data:
                    cases[name] = of_file(block, modules_of(text, data), run=data not in shipped)
                elif (whole := completed(data)) is not None:
                    cases[name] = plain(whole, ())
    return cases


def modules_of(page: str, data: Data) -> dict[str, str]:
    """Files that a page shows and its campaign names: Python modules of functions, and inputs of programs."""
    pythons = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    files: dict[str, str] = {}
    for name, settings in map(settings_of, data["evaluate"]):
        module, _, function = name.partition(":")
        named = re.findall(
            rf"<!-- file: {module}.py -->\n```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE
        )
        for code in named or pythons:
            if function and f"def {function}(" in code:
                files.setdefault(f"{module}.py", code)
        for wanted in settings.get("files", ()):
            shown = re.findall(
                rf"`{re.escape(str(wanted))}`:\n\n```\w*\n(.*?)^```", page, re.DOTALL | re.MULTILINE
            )
            files.update({str(wanted): text for text in shown})
    return files


def of_matrix() -> dict[str, Case]:
    """Every optimizer in every space, for one objective and for two."""
    return {
        f"matrix:{name}:{kind}:{objectives}": plain(campaign(optimizer, space, objectives), ())
        for name, optimizer in OPTIMIZERS.items()
        for kind, space in SPACES.items()
        for objectives in (1, 2)
    }


# Single cases.


def asynchronous(work: Work) -> Data:
    """Overlapping waves in a worker process, by commands alone, with report and exports."""
    data = campaign({"kind": "genetic", "mode": "steady_state", "population": 6}, SPACES["substitution"])
    work.supply()
    file = work.write("run.yaml", data)
    facts: Data = {"run": work.say("run", file, "--run-dir", "run", "--workers", 1, "--trust-code")}
    facts |= {"store": work.store(scheduled=False), "said": work.read(*LOOKS, "recommend")}
    facts["export"] = {}
    for format_ in ("csv", "cif", "extxyz"):
        said = work.say("export", "run", "--format", format_, "-o", f"out/{format_}", "--trust-code")
        facts["export"][format_] = said
    facts["files"] = work.files("out")
    return {**facts, "report": report_numbers((work.folder / "run" / "report.html").read_text("utf-8"))}


def report_numbers(page: str) -> Data:
    """Numbers of a report: those of its figures, and of cells in its tables that are no times."""
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)
    assert found

    def numbers(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: numbers(item) for name, item in value.items()}
        if isinstance(value, list):
            return [numbers(item) for item in value]
        return "" if isinstance(value, str) else value

    cells = [
        re.sub(r"<[^>]*>", "", cell)
        for cell in re.findall(r'<td class="num[^>]*>(.*?)</td>', page, re.DOTALL)
    ]
    timed = re.compile(r"[\d.]+ (ms|s|min|h)")
    return {
        "figures": numbers(json.loads(found[1])),
        "cells": ["" if timed.fullmatch(cell) else cell for cell in cells],
    }


def fidelities(work: Work) -> Data:
    """A cheap stage before the costly one: how far each candidate runs, and promotions."""
    data = campaign(
        {"kind": "bayesian", "initial": 8, "batch": 2, "effort": 0.2, "costs": {"early": 0.1, "height": 1}},
        SPACES["parameters"],
        1,
        budget={"candidates": 22},
    )
    data["evaluate"] = [{"cheap:rough": {"name": "early", "provides": {"height": "m"}}}, FITNESS]
    return plain(data)(work)


def on_demand(work: Work) -> Data:
    """The best sent on to a stage on demand, by commands."""
    data = campaign(OPTIMIZERS["genetic"], SPACES["parameters"], 1)
    data["evaluate"] = [FITNESS, {"cheap:width": {"provides": {"width": "m"}, "on_demand": True}}]
    facts = work.search(data)
    options = ("--trust-code", "--workers", 0, "--json")
    facts["promoted"] = [work.say("promote", "run", "--top", top, *options) for top in (3, 5)]
    facts["more"] = work.say("resume", "run", "--candidates", 40, "--trust-code", "--workers", 0)
    return {**facts, "store": work.store(), "said": work.read(*LOOKS)}


def dft_inputs(work: Work) -> Data:
    """Inputs of VASP for the best."""
    page = (work.before / "docs" / "dft.md").read_text(encoding="utf-8")
    (block, *_) = re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    facts = work.search(cheapened(parsed(block)))
    facts["promoted"] = work.say("promote", "run", "--top", 3, "--json")
    facts["collected"] = work.say("collect", "run", "--json")
    inputs = {
        name: found
        for name, found in work.files("run/work").items()
        if Path(name).name in ("INCAR", "KPOINTS", "POSCAR")
    }
    return {**facts, "store": work.store(), "inputs": inputs}


def laboratory(work: Work) -> Data:
    """Candidates that somebody measures: ask, tell, tell anew, withdraw, add, by commands."""
    import csv

    work.supply()
    data = parsed((work.before / "campaigns" / "slurry.yaml").read_text(encoding="utf-8"))
    data["optimizer"] = {"kind": "bayesian", "initial": 6, "effort": 0.2}
    file = work.write("slurry.yaml", data)
    facts: Data = {"said": []}

    def say(*words: object) -> None:
        facts["said"].append(work.say(*words))

    def fill(batch: str, skip: int, shift: float = 0.0) -> Path:
        with (work.folder / f"{batch}.csv").open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        text = ["candidate,conductivity [S/cm],uniformity,measurement"]
        for row in rows[skip:]:
            genome = json.loads(row["genome"])
            values = [float(genome[name]) for name in sorted(genome)]
            height = round(1e-3 * (1 + shift + math.sin(sum(values))), 8)
            text.append(f"{row['candidate']},{height},{round(0.5 + 0.04 * values[0], 6)},{batch}{shift}")
        return work.write(f"told-{batch}-{shift}.csv", "\n".join(text) + "\n")

    say("ask", "run", "--campaign", file, "-n", 4, "--output", "a.csv", "--json")
    say("ask", "run", "-n", 3, "--output", "b.csv", "--json")
    say("tell", "run", fill("b", 1), "--json")
    say("tell", "run", fill("a", 0))
    say("tell", "run", fill("a", 2, 0.1))
    say("tell", "run", fill("b", 2, 0.2), "--replace")
    say("withdraw", "run", 0, "--reason", "a leak", "--again")
    say("withdraw", "run", "--measurement", 2, "--reason", "misread")
    own = [{"cosolvent_ratio": 0.25, "liquid_to_solid": 1.5, "polymer_content": 4.0}]
    work.write("own.json", own)
    say("add", "run", "own.json")
    for batch in ("c", "d"):
        say("ask", "run", "-n", 3, "--output", f"{batch}.csv", "--json")
        say("tell", "run", fill(batch, 0))
    say("measurements", "run", "--json")
    say("ask", "run", "--pending", "--json")
    return {**facts, "store": work.store(), "seen": work.read(*LOOKS, "recommend")}


def steered(work: Work) -> Data:
    """A run that a user steers: add, withdraw, a told result, another budget; a fork under another campaign."""
    data = campaign(OPTIMIZERS["genetic"], SPACES["parameters"])
    facts: Data = {"first": work.search(data), "said": []}

    def say(*words: object) -> None:
        facts["said"].append(work.say(*words, "--trust-code"))

    work.write(
        "own.json", [{"x": 0.25, "y": 0.5, "n": 2, "c": "EC"}, {"x": 0.5, "y": 0.125, "n": 0, "c": "PC"}]
    )
    say("add", "run", "own.json")
    say("withdraw", "run", 2, "--reason", "a doubt")
    say("withdraw", "run", 4, 5, "--reason", "a doubt", "--again")
    say("budget", "run", "--candidates", 34)
    say("resume", "run", "--workers", 0)
    work.write("told.csv", "candidate,height,stage\n6,0.125,height\n")
    say("tell", "run", "told.csv", "--replace", "--workers", 0)
    say("resume", "run", "--workers", 0, "--candidates", 40)
    facts["steered"] = work.store()
    changed = {**data, "optimizer": OPTIMIZERS["random"], "objectives": [{"minimize": "width"}], "seed": 3}
    changed["space"] = {**data["space"], "constraints": ["x + y <= 1.2"]}
    work.write("changed.yaml", changed)
    for name, options in {"fork": ("--take", "front"), "best": ("--top", 5, "--candidates", 20)}.items():
        say("fork", "run", name, "--campaign", "changed.yaml", *options, "--json")
        say("resume", name, "--workers", 0)
        facts[name] = work.store(name)
    return facts


def prescreened(work: Work) -> Data:
    """A genetic search whose children are screened by models."""
    optimizer = {"kind": "genetic", "population": 8, "offspring": 4, "prescreen": {"generations": 2}}
    return plain(campaign(optimizer, SPACES["ordering"], 1))(work)


def informed(work: Work) -> Data:
    """A search that begins with what a table and an earlier run know, with seeds and one score of two objectives."""
    facts: Data = {"earlier": work.search(campaign(OPTIMIZERS["random"], SPACES["parameters"]), "earlier")}
    lines = [f"{0.1 * i},{0.05 + 0.1 * i},{i % 4},EC,{0.3 + 0.1 * i},{1.5 - 0.1 * i}" for i in range(8)]
    work.write("known.csv", "\n".join(["x,y,n,c,height,width", *lines]) + "\n")
    optimizer = {
        **OPTIMIZERS["bayesian"],
        "prior": [{"table": "known.csv", "name": "known"}, {"run": "earlier"}],
    }
    data = campaign(optimizer, SPACES["parameters"], seeds=[{"x": 0.5, "y": 0.5, "n": 1, "c": "DMC"}])
    data["objectives"] = [
        {"minimize": "height", "best": 0, "worst": 4},
        {"target": {"width": 0.5}, "tolerance": 2, "weight": 2},
    ]
    data["scalarize"] = "desirability"
    return {**facts, **plain(data)(work)}


def interface(work: Work) -> Data:
    """JSON Schema, options of all commands, plug-ins, starters, reference sets."""
    schema = without_descriptions(json.loads(work.printed("schema")))
    facts: Data = {"schema": schema}
    left: list[list[str]] = [[]]
    while left:
        words = left.pop()
        facts[f"options of {' '.join(words)}"], below = options_in(work.printed(*words, "--help"))
        left += [[*words, name] for name in below]
    project = tomllib.loads((work.side.checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    facts["plug-ins"] = {name: sorted(found) for name, found in project["entry-points"].items()}
    facts["codes"] = [
        work.say(*words) for words in (["show", "nowhere", 1], ["run"], ["nothing"], ["--version"])
    ]
    starters = {}
    for parent in sorted(set(re.findall(r"parent: (\w+)", "".join(pages_of(work.before))))):
        code = work.say("init", f"{parent}.yaml", "--parent", parent)["code"]
        file = work.folder / f"{parent}.yaml"
        starters[parent] = blanked([code, parsed(file.read_text("utf-8")) if file.exists() else None])
    facts["starters"] = starters
    shown = [work.printed("reference", *words) for words in (["list"], ["show", "lithium-chalcohalides"])]
    facts["references"] = [re.findall(r"-?\d+(?:\.\d+)?", text) for text in shown]
    return facts


def pages_of(before: Path) -> list[str]:
    """The texts of the pages."""
    return [page.read_text(encoding="utf-8") for page in sorted((before / "docs").rglob("*.md"))]


# Stopped and resumed.

KILLED_AT = {"bayesian": 9}  # the candidate at which the process dies; the model was fitted by then
STOP = "stop:"


def resumable(kind: str) -> Data:
    """The campaign that is stopped midway and gone on with."""
    return campaign(OPTIMIZERS[kind], SPACES["parameters"], 1 if kind == "cma" else 2)


def stopping(kind: str) -> Case:
    """Runs that stopped: one killed, one at its budget, and the same never stopped."""

    def case(work: Work) -> Data:
        data = resumable(kind)
        half = {**data, "budget": {"candidates": KILLED_AT.get(kind, 15)}}
        return {
            "killed": work.search(data, "killed", DIE_AT=str(KILLED_AT.get(kind, 15)))["code"],
            "short": work.search(half, "short")["code"],
            "whole": work.search(data, "whole"),
        }

    return case


def resuming(kind: str) -> Case:
    """Go on with copies of what BEFORE left; the killed run is then the one never stopped."""

    def case(work: Work) -> Data:
        source = work.stopped / slug(STOP + kind)
        for name in ("killed", "short"):
            shutil.copytree(source / name, work.folder / name)
        work.supply()
        most = resumable(kind)["budget"]["candidates"]
        options = ("--trust-code", "--workers", 0)
        facts: Data = {"killed": work.say("resume", "killed", *options)}
        facts["short"] = work.say("resume", "short", "--candidates", most, *options)
        shutil.copytree(source / "whole", work.folder / "whole")
        killed, whole = work.store("killed"), work.store("whole")
        facts["as never stopped"] = list(differences(whole, killed))[:5]
        if facts["as never stopped"]:
            raise SystemExit(f"resume:{kind}: not as never stopped: {facts['as never stopped']}")
        return {**facts, "killed store": killed, "short store": work.store("short")}

    return case


def kept(file: Path) -> Case:
    """A store of an earlier schema: looked at, exported, gone on with."""

    def case(work: Work) -> Data:
        (work.folder / "run").mkdir()
        packed = gzip.decompress(file.read_bytes())
        (work.folder / "run" / "run.sqlite").write_bytes(packed)
        facts: Data = {"looks": work.read(*LOOKS, "measurements", "recommend")}
        facts["csv"] = work.say("export", "run", "--format", "csv", "-o", "out/table.csv")
        facts["files"] = work.files("out")
        facts["untouched"] = (work.folder / "run" / "run.sqlite").read_bytes() == packed
        with closing(sqlite3.connect(work.folder / "run" / "run.sqlite")) as connection:
            (count,) = connection.execute("select count(*) from candidates").fetchone()
        facts["resume"] = work.say("resume", "run", "--candidates", count + 8, "--workers", 0)
        facts["ask"] = work.say("ask", "run", "-n", 3, "--output", "batch.csv", "--json")
        facts["batch"] = work.files(".") and {
            name: found for name, found in work.files(".").items() if name == "batch.csv"
        }
        facts["after"] = work.read(*LOOKS, "measurements")
        return {**facts, "store": work.store()}

    return case


def cases_of(before: Path) -> dict[str, Case]:
    """All cases by name, in the order they are done."""
    cases: dict[str, Case] = {
        "interface": interface,
        **of_pages(before),
        **of_matrix(),
        **of_examples(before),
    }
    single = (asynchronous, fidelities, on_demand, dft_inputs, laboratory, steered, prescreened, informed)
    cases |= {f"case:{case.__name__}": case for case in single}
    for kind in OPTIMIZERS:
        cases |= {f"{STOP}{kind}": stopping(kind), f"resume:{kind}": resuming(kind)}
    for file in sorted((before / "tests" / "data" / "stores").glob("*/*.sqlite.gz")):
        cases[f"kept:{file.parent.name}:{file.name.partition('.')[0]}"] = kept(file)
    return cases


# The comparison.


def slug(name: str) -> str:
    """A case's name as a file's."""
    return re.sub(r"[^\w.-]+", "-", name)


def facts_of(name: str, case: Case, side: Side, before: Path, stopped: Path) -> Data:
    """What a side says of a case; kept, so that it is run once."""
    file = side.folder / "facts" / f"{slug(name)}.json.gz"
    if file.exists():
        found: Data = json.loads(gzip.decompress(file.read_bytes()))
        return found
    folder = (
        stopped.parents[2] / "here" / slug(name.replace(STOP, "resume:"))
    )  # the same for both sides: some fingerprints have paths in them
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    facts = json.loads(json.dumps(case(Work(side, before, folder, stopped))))
    if commit_of(side.checkout) != side.commit:
        raise SystemExit(f"{side.checkout} changed while it was compared: begin again")
    if name.startswith(STOP):
        shutil.rmtree(stopped / slug(name), ignore_errors=True)
        shutil.copytree(folder, stopped / slug(name))
    shutil.rmtree(folder)
    file.parent.mkdir(exist_ok=True)
    new = file.with_name(f".{file.name}.{os.getpid()}")
    new.write_bytes(gzip.compress(json.dumps(facts).encode()))
    new.replace(file)
    return facts


def remark(facts: Data) -> str:
    """What a line says beside the verdict: candidates of the run, or that it was refused."""
    store = facts.get("store")
    if store:
        return f"{len(store['candidates'])} candidates, {store['digest'][:12]}"
    return f"refused: {facts['error']}" if facts.get("error") else ""


def main() -> int:
    if sys.argv[1:] == ["--serve"]:
        serve()
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--only", nargs="+", default=["*"], metavar="NAME")
    parser.add_argument("--folder", type=Path, default=Path("compared"))
    parser.add_argument("--list", action="store_true")
    given = parser.parse_args()
    before, after, work = (path.resolve() for path in (given.before, given.after, given.folder))
    cases = cases_of(before)
    wanted = [name for name in cases if any(fnmatch.fnmatch(name, pattern) for pattern in given.only)]
    if given.list:
        print(*wanted, sep="\n")
        return 0
    work.mkdir(parents=True, exist_ok=True)
    script = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    keys = [commit_of(path) for path in (before, after)]
    folders = [work / script / keys[0], work / script / f"{keys[1]}-from-{keys[0]}"]
    for key, folder in zip(keys, folders, strict=True):
        if "changed" in (key, keys[0]):
            shutil.rmtree(folder, ignore_errors=True)
    lock = (work / "lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    sides = [Side(*found) for found in zip((before, after), folders, keys, strict=True)]
    print(f"strings blanked under: {', '.join(sorted(SENTENCES))}; dropped: {', '.join(sorted(TIMES))}")
    different = 0
    for name in wanted:
        began = time.monotonic()
        if name.startswith("resume:"):
            stop = name.replace("resume:", STOP)
            facts_of(stop, cases[stop], sides[0], before, folders[0] / "runs")
        said = [facts_of(name, cases[name], side, before, folders[0] / "runs") for side in sides]
        found = list(differences(*said))
        different += bool(found)
        verdict = f"{len(found)} differences" if found else "equal"
        beside = ", ".join(filter(None, [remark(said[0]), f"{time.monotonic() - began:.1f} s"]))
        print(f"{name} ... {verdict} ({beside})", flush=True)
        for line in found[:5]:
            print(f"    {line}")
    for side in sides:
        side.close()
    print("equal" if not different else f"different: {different} of {len(wanted)} checks")
    return 1 if different else 0


if __name__ == "__main__":
    raise SystemExit(main())
