"""Energy, forces and stress of atoms: CHGNet, and any ASE calculator."""

from __future__ import annotations

from invdesign.errors import InvdesignError


class PotentialError(InvdesignError):
    """A potential cannot say anything about an arrangement: an isolated atom, an element it does not know."""
