"""Writes `docs/benchmarks.md` from `results/*.json`: the tables say what was measured, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from common import RESULTS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

Each table is made by `python benchmarks/tables.py` from the result files that the scripts beside it wrote; run a script
again to check a figure on your machine. Values are medians over n seeds or repetitions; the spread is the distance
between the quartiles.
"""
ABOUT = {
    "loop": "`python benchmarks/loop.py`: the loop's own cost with a free evaluator, everything but the evaluator "
    "counted (wall time); memory of the coordinating process; opening the finished run again.",
    "front_recall": "`python benchmarks/truth_table.py`: 64 proposals in the quickstart's space of 700 decorations, "
    "replayed from a table of all of them; how many points of the true Pareto front were proposed, and the share of "
    "its hypervolume.",
}


def section(name: str, rows: list[dict[str, Any]]) -> str:
    """One benchmark's table."""
    lines = [
        f"\n## {name}",
        ABOUT.get(name, ""),
        "",
        "| task | method | metric | median | spread | unit | n |",
    ]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        cells = [row["task"], row["method"], row["metric"], f"{row['value']:.4g}", f"{row['spread']:.2g}"]
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
