"""Hash of everything a run found and decided."""

from __future__ import annotations

import hashlib
import json

from invdesign.store.checksums import value_names
from invdesign.store.schema import candidates, evaluations, events, measurements
from invdesign.store.waves import ReadableStore


def digest_store(store: ReadableStore) -> str:
    """Equal for runs that are equal.

    Candidates, lineage, properties, structures, failures, events, states and measurements are in it; timings, process
    ids, the environment and how tasks were scheduled are not.
    """
    whole = hashlib.blake2b(digest_size=32)

    def add(*values: object) -> None:
        whole.update(json.dumps(values, sort_keys=True).encode() + b"\n")

    for row in store.read_rows(candidates, [name for name in value_names(candidates) if name != "finished"]):
        add("candidate", *row)
    said = ("properties", "noise", "systematic", "details", "structures")
    names = ("candidate", "stage", *said, "failure", "withdrawn")
    # Of one stage and candidate there are several where a user took one back: in the order they came.
    order = (evaluations.c.candidate, evaluations.c.stage, evaluations.c.id)
    for row in store.read_rows(evaluations, names, order=order):
        add("evaluation", *row)
    for row in store.read_rows(events, ("id", "kind", "detail", "state")):
        add("event", *row)
    for row in store.read_rows(measurements, value_names(measurements)):
        add("measurement", *row)
    return whole.hexdigest()
