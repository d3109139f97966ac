"""The version of the package; pyproject.toml and CITATION.cff repeat it."""

from __future__ import annotations

from typing import Final

__version__: Final = "0.1.0"
