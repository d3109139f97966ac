"""Inverse design and global optimization of battery materials.

`import invdesign` is light: what it offers is imported when it is first used.

    campaign = invdesign.load_campaign("campaigns/toy.yaml")
    run = invdesign.Run.create(campaign, "runs/toy")
    run.execute()
    run.top(5)
    invdesign.write_report(run, "report.html")
"""

from __future__ import annotations

import os
import sys

# `python -m invdesign` puts the working folder first in the path, where a `socket.py` would be imported in the place of
# Python's own; see docs/security.md. While Python looks for the package of `-m`, that stands in the place of the script.
_started_here = sys.argv[:1] == ["-m"] and "invdesign" in sys.orig_argv and not sys.flags.safe_path
if _started_here:
    try:
        _here = {"", os.getcwd()}  # noqa: PTH109 - pathlib is not imported yet
    except OSError:  # it was deleted, and holds no modules
        _here = {""}
    if sys.path[0] in _here:
        del sys.path[0]

from importlib import import_module  # noqa: E402 - see above
from typing import TYPE_CHECKING  # noqa: E402 - see above

from invdesign.version import __version__  # noqa: E402 - see above

if TYPE_CHECKING:
    from invdesign.campaign.load import campaign_from, load_campaign
    from invdesign.campaign.model import Campaign
    from invdesign.functions.decorator import fitness
    from invdesign.generators.generate import generate
    from invdesign.report.export import export_run
    from invdesign.report.html import write_report
    from invdesign.run.optimizing import optimize
    from invdesign.run.run import Run
    from invdesign.run.told import Told
    from invdesign.sheets.batch import write_batch
    from invdesign.sheets.results import read_results

_HOMES = {
    "Campaign": "invdesign.campaign.model",
    "Run": "invdesign.run.run",
    "Told": "invdesign.run.told",
    "campaign_from": "invdesign.campaign.load",
    "export_run": "invdesign.report.export",
    "fitness": "invdesign.functions.decorator",
    "generate": "invdesign.generators.generate",
    "load_campaign": "invdesign.campaign.load",
    "optimize": "invdesign.run.optimizing",
    "read_results": "invdesign.sheets.results",
    "write_batch": "invdesign.sheets.batch",
    "write_report": "invdesign.report.html",
}
__all__ = [
    "Campaign",
    "Run",
    "Told",
    "__version__",
    "campaign_from",
    "export_run",
    "fitness",
    "generate",
    "load_campaign",
    "optimize",
    "read_results",
    "write_batch",
    "write_report",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'invdesign' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
