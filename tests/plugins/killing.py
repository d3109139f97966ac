"""Work on a run in forked processes that kill themselves at a statement of the database, again and again.

`python -m tests.plugins.killing CAMPAIGN.yaml FOLDER SEED MOST` works on the run until it is finished; the child
of each attempt dies (SIGKILL) before a random one of its next MOST statements or commits. Prints one JSON object:
how many died, at which kinds of statement, and the digest.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Engine, event

from invdesign.campaign.load import load_campaign
from invdesign.run.run import Run


def die_after(
    statements: int, report: int, also: Callable[[Callable[[str], None]], None] | None = None
) -> None:
    """Kill this process before its statement or commit of that number, telling `report` which it would have been.

    Args:
        statements: the number.
        report: where to write.
        also: lets other operations be counted too.
    """
    left = [statements]

    def count(what: str) -> None:
        left[0] -= 1
        if left[0] <= 0:
            os.write(report, what.encode())
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(
        Engine, "before_cursor_execute", lambda c, cursor, statement, *rest: count(statement.split()[0])
    )
    event.listen(Engine, "commit", lambda connection: count("COMMIT"))
    if also is not None:
        also(count)


Work = Callable[[Path, Path], None]  # on the run of a campaign file, in a folder


def attempt(campaign: Path, folder: Path, statements: int, work: Work) -> str | None:
    """Work on the run in a child; at what it died, or None where it came to the end."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        die_after(statements, writer)
        work(campaign, folder)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as lines:
        died_at = lines.read()
    _, status = os.waitpid(child, 0)
    if status not in {0, signal.SIGKILL}:
        raise SystemExit(f"a child ended with {status}")
    return died_at or None


def attempt_here(campaign: Path, folder: Path) -> None:
    """Work on the run in this process."""
    run = (
        Run.open(folder, trust_code=True)
        if (folder / "run.sqlite").exists()
        else Run.create(load_campaign(campaign, trust_code=True), folder)
    )
    run.use_workers(0)
    run.execute()
    run.close()


def main(work: Work = attempt_here) -> None:
    campaign, folder, seed, most = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    rng = random.Random(seed)
    deaths: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as warm:  # what a first run imports and compiles, no child has to
        work(campaign, Path(warm))
    while died_at := attempt(campaign, folder, rng.randint(1, most), work):
        deaths[died_at] += 1
    run = Run.open(folder, trust_code=True)
    print(json.dumps({"deaths": deaths.total(), "at": dict(deaths), "digest": run.digest()}))  # noqa: T201


if __name__ == "__main__":
    main()
