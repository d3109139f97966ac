"""`validate` says how large candidates are and how many relaxations an hour allows."""

from __future__ import annotations

from invdesign.campaign.load import load_campaign
from invdesign.cli.costs import describe_costs

CAMPAIGN = """
version: 1
name: large
space:
  kind: ordering
  parent: rocksalt
  cell: [2, 2, {repeats}]
  sites: {{M: {{Cu: 0.5, Au: 0.5}}, X: [Cu]}}
evaluate:
  - relax: {{potential: {{kind: ase, calculator: emt}}, cell: false}}
objectives: [minimize: energy_per_atom]
optimizer: random
budget: {{candidates: 4}}
"""


def describe(tmp_path, repeats):
    file = tmp_path / "large.yaml"
    file.write_text(CAMPAIGN.format(repeats=repeats))
    return describe_costs(load_campaign(file, trust_code=True))


def test_large_cells_are_timed(tmp_path):
    """The atoms of a cell, and relaxations per hour from one timed call."""
    atoms, time = describe(tmp_path, 2)
    assert atoms == "cells of 64 atoms"
    assert time.startswith("relax: about ")
    assert time.endswith(" an hour on each worker")


def test_small_cells_are_not(tmp_path):
    """No potential is loaded for cells whose relaxation takes seconds."""
    assert describe(tmp_path, 1) == []
