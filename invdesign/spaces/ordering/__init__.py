"""Search space of species and vacancies ordered on the sites of a crystal."""

from __future__ import annotations

from invdesign.spaces.ordering.space import OrderingSpace

__all__ = ["OrderingSpace"]
