"""A search, its best sent on to DFT, and what came back; whoever is killed in it says the same commands again.

`python -m tests.plugins.collecting CAMPAIGN.yaml FOLDER SEED MOST`: as `tests.plugins.killing`.
"""

from __future__ import annotations

from pathlib import Path

from tests.plugins import killing
from tests.support import here
from tests.surrogates.dft_outputs import vasprun


def work(campaign: Path, folder: Path) -> None:
    """All of it, as far as it is not done."""
    killing.attempt_here(campaign, folder)
    here("promote", folder, "--top", 3)
    for number, job in enumerate(sorted((folder / "work" / "dft").glob("0*"))):
        if not (job / "vasprun.xml").exists():
            (job / "vasprun.xml").write_text(vasprun(job, electronic=100 if number == 1 else 5))
        here("collect", folder)


if __name__ == "__main__":
    killing.main(work)
