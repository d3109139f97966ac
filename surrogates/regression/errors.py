"""Errors of trained property models."""

from __future__ import annotations

from invdesign.errors import InvdesignError


class TrainingError(InvdesignError):
    """A data set or a recipe from which no property model can be trained or judged."""

    exit_code = 2
