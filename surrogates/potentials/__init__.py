"""Energy, forces and stress of atoms: CHGNet, and any ASE calculator."""

from __future__ import annotations

from invdesign.errors import InvdesignError


class PotentialError(InvdesignError):
    """A potential has no answer for an arrangement.

    For example it has an isolated atom, or an element the potential does not know.
    """
