"""Card of a trained property model in Markdown, from its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def write_card(config: Mapping[str, Any]) -> str:
    """Write the card of a model from its configuration."""
    return f"# {config['target']['name']}\n"
