"""Fitness functions: Python functions of the user as evaluators."""

from invdesign.functions.decorator import Decorated, fitness
from invdesign.functions.function import FitnessFunction

__all__ = ["Decorated", "FitnessFunction", "fitness"]
