"""Named variables, their allowed values, and the rules between them."""

from __future__ import annotations

from invdesign.spaces.parameters.space import ParameterSpace

__all__ = ["ParameterSpace"]
