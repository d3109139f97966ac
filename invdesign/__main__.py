"""`python -m invdesign`."""

import os
import sys

# Python puts the working folder first in the path: a `socket.py` there would be imported in the place of Python's own.
# What it imported before it came here, `docs/security.md` says.
if not sys.flags.safe_path and sys.path and sys.path[0] in {"", os.getcwd()}:  # noqa: PTH109 - before any import
    del sys.path[0]

from invdesign.cli import main

if __name__ == "__main__":
    main()
