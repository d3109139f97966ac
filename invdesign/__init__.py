"""Inverse design and global optimization of battery materials.

`import invdesign` is light: everything heavy is imported where it is used.
"""

from __future__ import annotations

__version__ = "0.1.0"
