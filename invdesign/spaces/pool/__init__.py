"""Search space of given candidates: rows of a table, structures, a database."""

from __future__ import annotations

from invdesign.spaces.pool.space import PoolSpace

__all__ = ["PoolSpace"]
