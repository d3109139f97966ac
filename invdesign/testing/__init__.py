"""Contracts as code: checks for search spaces, optimizers, evaluators, derivations and generators.

A plug-in that passes its check is treated like a built-in one. A check raises an AssertionError that names the broken rule.
"""

from __future__ import annotations

from invdesign.testing.derivations import check_derivation
from invdesign.testing.evaluators import check_evaluator
from invdesign.testing.generators import check_generator
from invdesign.testing.history import MemoryHistory
from invdesign.testing.optimizers import check_optimizer
from invdesign.testing.spaces import check_space

__all__ = [
    "MemoryHistory",
    "check_derivation",
    "check_evaluator",
    "check_generator",
    "check_optimizer",
    "check_space",
]
