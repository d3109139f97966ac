"""Fork a run in forked processes that kill themselves at a statement of the database, until one comes to the end.

`python -m tests.plugins.forking SOURCE NEW CAMPAIGN.yaml STEP`: the first dies before its statement or commit number
STEP, the second before number 2 STEP, and so on. Prints one JSON object: how many died, and the digest of the new run,
worked on to its end.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from invdesign.campaign.load import load_campaign
from invdesign.run.fork import fork
from invdesign.run.run import Run
from tests.plugins.killing import die_after


def attempt(source: Path, new: Path, campaign: Path, statements: int) -> bool:
    """Fork the run in a child; whether it came to its end."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        die_after(statements, writer)
        fork(source, new, load_campaign(campaign, trust_code=True), trust_code=True)
        os._exit(0)
    os.close(writer)
    _, status = os.waitpid(child, 0)
    os.close(reader)
    if status not in {0, signal.SIGKILL}:
        raise SystemExit(f"a child ended with {status}")
    return status == 0


def main() -> None:
    source, new, campaign = map(Path, sys.argv[1:4])
    step, deaths = int(sys.argv[4]), 0
    while not attempt(source, new, campaign, step * (deaths + 1)):
        deaths += 1
        if (new / "run.sqlite").exists():
            break  # whole: it was killed while it looked at what it had made
    run = Run.open(new, trust_code=True)
    run.use_workers(0)
    run.execute()
    print(json.dumps({"deaths": deaths, "digest": run.digest()}))  # noqa: T201


if __name__ == "__main__":
    main()
