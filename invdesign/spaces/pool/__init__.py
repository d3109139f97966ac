"""Given candidates: rows of a table, structure files, a database."""

from __future__ import annotations

from invdesign.spaces.pool.space import PoolSpace

__all__ = ["PoolSpace"]
