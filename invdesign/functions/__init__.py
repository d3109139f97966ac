"""A user's own Python function as an evaluator."""

from invdesign.functions.decorator import Decorated, fitness
from invdesign.functions.function import FitnessFunction

__all__ = ["Decorated", "FitnessFunction", "fitness"]
