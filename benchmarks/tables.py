"""Writes `docs/benchmarks.md` from `results/*.json`: the tables say what was measured, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from common import RESULTS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

Each table is made by `python benchmarks/tables.py` from the result files that the scripts beside it wrote; run a script
again to check a figure on your machine. Values are medians over n seeds or repetitions, with the 95 % bootstrap interval of
the median where n is at least 5; the spread is the distance between the quartiles. Our method is `invdesign`, with what it
was set to in brackets where it is not the default; peers stand under their own names. `pip install -e ".[peers]"` installs
them.
"""
ABOUT = {
    "loop": "`python benchmarks/loop.py`: the loop's own cost with a free evaluator, everything but the evaluator "
    "counted (wall time); memory of the coordinating process; opening the finished run again.",
    "front_recall": "`python benchmarks/truth_table.py`: 64 proposals in the quickstart's space of 700 decorations, "
    "replayed from a table of all of them; how many points of the true Pareto front were proposed, and the share of "
    "its hypervolume. `invdesign_screened` is genetic with its pre-screen.",
    "continuous": "`python benchmarks/continuous.py`: shifted and rotated test functions of ten variables, 5,000 "
    "evaluations; the best value found above the optimum. Settings were chosen on other functions.",
    "hypervolume": "`python benchmarks/hypervolume.py`: share of the true front's hypervolume, six variables, two "
    "objectives, after 100 evaluations (genetic with its pre-screen) and after 5,000 (without).",
    "mixture": "`python benchmarks/mixture.py`: 10,000 proposals of mixtures of fifteen components, at most four "
    "present, under two linear constraints.",
    "ordering": "`python benchmarks/ordering.py`: evaluations until the lowest Li/vacancy ordering of LixNiO2 at given "
    "composition is found, as a share of what random search needs.",
    "optimizer_overhead": "`python benchmarks/optimizer_overhead.py`: ask, tell and commit per candidate, everything "
    "but the evaluator counted (wall time), ten variables, two objectives.",
    "generation": "`python benchmarks/generation.py`: one generation of NSGA-II, two objectives.",
}


def section(name: str, rows: list[dict[str, Any]]) -> str:
    """One benchmark's table."""
    lines = [
        f"\n## {name}",
        ABOUT.get(name, ""),
        "",
        "| task | method | metric | median | 95 % interval | spread | unit | n |",
    ]
    lines.append("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        low, high = row.get("low"), row.get("high")
        interval = "" if low is None else f"{low:.4g} to {high:.4g}"
        cells = [row["task"], row["method"], row["metric"], f"{row['value']:.4g}", interval]
        cells.append(f"{row['spread']:.2g}")
        lines.append("| " + " | ".join([*cells, row["unit"], str(row["n"])]) + " |")
    lines.append(f"\n{rows[0]['date']}, {rows[0]['machine']}.")
    return "\n".join(lines)


def main() -> None:
    text = HEAD
    for file in sorted(RESULTS.glob("*.json")):
        rows = json.loads(file.read_text(encoding="utf-8"))
        if rows and "benchmark" in rows[0]:
            text += section(file.stem, rows) + "\n"
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
