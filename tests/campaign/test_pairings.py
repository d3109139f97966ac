"""An optimizer that cannot search the space of a campaign is refused before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from invdesign.errors import CampaignError
from tests.support import STEPS, campaign, funnel

CHOOSY = {"kind": f"{STEPS}:ChoosySearch"}
COUNTABLE = {"kind": "parameters", "parameters": {"x": {"integer": [0, 9]}, "y": {"integer": [0, 9]}}}


def test_an_impossible_pairing_names_the_possible_ones() -> None:
    """The complaint says why, and lists the optimizers that can search this space."""
    with pytest.raises(CampaignError) as refused:
        campaign(funnel(optimizer=CHOOSY))
    text = str(refused.value)
    assert "ChoosySearch' cannot search this: it needs a space that can be counted through." in text
    assert "Optimizers that can: " in text
    assert {"genetic", "random"} <= set(text.replace(",", " ").replace(".", " ").split())


def test_a_pairing_that_works_is_accepted() -> None:
    """On a countable space the same optimizer is welcome."""
    assert campaign(funnel(optimizer=CHOOSY, space=COUNTABLE)).name == "funnel"


@pytest.mark.parametrize("broken", [{"objectives": []}, {"space": {"kind": "parameters", "parameters": {}}}])
def test_other_mistakes_come_first(broken: dict[str, Any]) -> None:
    """Where space or objectives are wrong themselves, nothing is said of the pairing."""
    with pytest.raises(CampaignError) as refused:
        campaign(funnel(optimizer=CHOOSY, **broken))
    assert "cannot search" not in str(refused.value)
