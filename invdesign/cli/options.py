"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RunDir = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the run.")]
CampaignFile = Annotated[Path, typer.Argument(metavar="FILE", help="Campaign file (YAML).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
TrustCode = Annotated[
    bool,
    typer.Option("--trust-code", help="Let the campaign import code from its own folder (module:name)."),
]
Workers = Annotated[int | None, typer.Option(min=0, help="Worker processes; 0 evaluates in this process.")]
