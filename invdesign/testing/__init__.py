"""The contracts as code: a plug-in that passes its check is the equal of the built-in ones.

Each check raises an AssertionError that says which rule was broken and by what.
"""

from __future__ import annotations

from invdesign.testing.evaluators import check_evaluator
from invdesign.testing.history import MemoryHistory
from invdesign.testing.optimizers import check_optimizer
from invdesign.testing.spaces import check_space

__all__ = ["MemoryHistory", "check_evaluator", "check_optimizer", "check_space"]
