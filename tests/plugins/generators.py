"""Generators that only tests use: well-behaved, and misbehaving in every way."""

from __future__ import annotations

import os
import time
from typing import Literal

from invdesign.protocols import ORIGIN, Condition, GeneratorSettings, Samples
from invdesign.rng import Rng


class RockSalts(GeneratorSettings):
    """Rock salts of two of the allowed elements; misbehaves as its settings say."""

    fault: Literal["", "raise", "hang", "exit", "nothing", "overlap", "same", "strange"] = ""
    """How it fails."""

    def refusal(self, condition: Condition) -> str:
        known = {"Mg", "O", "Li", "F"}
        unknown = [name for name in (*condition.elements, *dict(condition.formula)) if name not in known]
        return f"knows no {', '.join(unknown)}" if unknown else ""

    def sample(self, rng: Rng, n: int, condition: Condition) -> Samples:
        from pymatgen.core import Lattice, Structure

        if self.fault == "raise":
            raise RuntimeError("this generator is broken")
        if self.fault == "hang":
            time.sleep(3600.0)
        if self.fault == "exit":
            os._exit(3)
        if self.fault == "nothing":
            return Samples((), "it never makes anything")
        if condition.formula and dict(condition.formula) != {"Mg": 1, "O": 1}:
            return Samples((), "it makes MgO alone")
        names = ["Mg", "S"] if self.fault == "strange" else ["Mg", "O"]
        made = []
        for _ in range(n):
            edge = {"overlap": 2.4, "same": 4.2}.get(self.fault, float(rng.uniform(4.0, 4.6)))
            lattice = Lattice([[0, edge / 2, edge / 2], [edge / 2, 0, edge / 2], [edge / 2, edge / 2, 0]])
            crystal = Structure(lattice, names, [[0, 0, 0], [0.5, 0.5, 0.5]])
            crystal.properties[ORIGIN] = {"generator": "rock salts", "edge": edge}
            made.append(crystal)
        return Samples(tuple(made), tried=n)
