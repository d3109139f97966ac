"""Budget of a run: limits from the campaign file, commands and requests; the latest counts."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from pydantic import ValidationError

from invdesign.campaign.model import Budget, Campaign
from invdesign.candidate import Json, to_json
from invdesign.errors import RefusedError
from invdesign.run.requests import Request
from invdesign.run.since import check_same_run
from invdesign.store.store import Store

CHANGE_KEY = "budget_change"  # entry of the store: name of the last change
FILE_BUDGET_KEY = "budget_of_file"  # what the campaign said last, where something else holds


def replace_limits(budget: Budget, limits: Mapping[str, Json]) -> Budget:
    """Replace some limits of a `budget`; those that are None in `limits` stay.

    Raises:
        RefusedError: there is no such limit, or it is no positive number.
    """
    given = {name: limit for name, limit in limits.items() if limit is not None}
    try:
        return Budget.model_validate({**budget.model_dump(mode="json"), **given})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        what = f"{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}, got {first['input']!r:.40}"
        known = ", ".join(Budget.model_fields)
        raise RefusedError(f"this is no budget: {what}. Limits are {known}.") from None


def stored_budget(store: Store) -> Budget:
    """Budget that holds, from the `store`."""
    return Budget.model_validate(json.loads(store.read_entry("campaign"))["budget"])


def change_by_request(store: Store, request: Request) -> Budget:
    """Change the budget as a request says; returns the budget that holds.

    Args:
        store: the run's.
        request: of the kind `budget`.

    Raises:
        RefusedError: it is no budget, or was changed since the request was made by something its author did not see.
    """
    old, last, seen = stored_budget(store), store.read_entry(CHANGE_KEY), request.seen
    if seen is not None:
        check_same_run(seen, store)
    if last == request.id:
        return old  # done, and killed before the request was removed
    new = replace_limits(old, request.detail)
    if new == old:
        return old
    if seen is not None and last != seen.budget and last not in seen.waiting:
        raise RefusedError(
            f"this request is out of date: the budget was changed since it was made, and is now {format_budget(old)}. "
            "If it still holds, give it again. Nothing was changed."
        )
    return write_limits(store, request.detail, request.id)


def write_limits(store: Store, limits: Mapping[str, Json], name: str = "") -> Budget:
    """Replace limits of the stored budget, as the user's own decision.

    Args:
        store: the run's.
        limits: by name.
        name: of the change; by default a new one.

    Raises:
        RefusedError: there is no such limit, or it is no positive number.
    """
    dump = json.loads(store.read_entry("campaign"))
    old = Budget.model_validate(dump["budget"])
    new = replace_limits(old, limits)
    if not store.read_entry(FILE_BUDGET_KEY):
        store.set_entry(FILE_BUDGET_KEY, to_json(old.model_dump(mode="json")))
    store.set_entry("campaign", to_json({**dump, "budget": new.model_dump(mode="json")}))
    store.set_entry(CHANGE_KEY, name or uuid.uuid4().hex)  # last: killed before, it is done again
    return new


def write_campaign(store: Store, campaign: Campaign) -> Budget:
    """Store a campaign as it reads now.

    A limit that its file does not change stays as the user set it since.

    Args:
        store: the run's.
        campaign: as its file reads now.
    """
    held = stored_budget(store).model_dump(mode="json")
    said = json.loads(store.read_entry(FILE_BUDGET_KEY) or to_json(held))
    reads = cast("dict[str, Json]", campaign.budget.model_dump(mode="json"))
    merged = {
        name: reads[name] if reads[name] != said.get(name) else held[name] for name in Budget.model_fields
    }
    try:
        budget = Budget.model_validate(merged)
    except ValidationError:  # no limit would be left: what the user had set by hand, the file takes away
        budget = campaign.budget
    dump = campaign.dump()
    store.set_entry("campaign", to_json({**dump, "budget": budget.model_dump(mode="json")}))
    store.set_entry(FILE_BUDGET_KEY, to_json(reads))
    if budget.model_dump(mode="json") != held:
        store.set_entry(CHANGE_KEY, uuid.uuid4().hex)
    if campaign.text:
        store.set_entry("campaign_text", campaign.text)
    return budget


def replace_budget(campaign: Campaign, budget: Budget) -> Campaign:
    """Copy of a `campaign` with another `budget`."""
    return campaign if campaign.budget == budget else replace(campaign, budget=budget)


def format_budget(budget: Budget) -> str:
    """Write a `budget` in words: `400 candidates, 2 hours`."""
    limits = budget.model_dump(exclude_none=True).items()
    return ", ".join(f"{value if isinstance(value, int) else f'{value:g}'} {name}" for name, value in limits)
