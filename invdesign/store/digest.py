"""Digest of a store: a hash of all results and decisions of a run."""

from __future__ import annotations

import hashlib
import json

from invdesign.store.checksums import value_names
from invdesign.store.schema import candidates, evaluations, events, measurements
from invdesign.store.waves import ReadableStore


def digest_store(store: ReadableStore) -> str:
    """Hash the contents of `store`; equal for equal runs.

    Candidates, lineage, properties, structures, failures, events, states and measurements are included; timings, process
    ids, the environment and the scheduling of tasks are not.
    """
    whole = hashlib.blake2b(digest_size=32)

    def add(*values: object) -> None:
        whole.update(json.dumps(values, sort_keys=True).encode() + b"\n")

    for row in store.read_rows(candidates, [name for name in value_names(candidates) if name != "finished"]):
        add("candidate", *row)
    said = ("properties", "noise", "systematic", "details", "structures")
    names = ("candidate", "stage", *said, "failure", "withdrawn", "relaxed_genome", "adoption_refused")
    # A stage may have several evaluations of a candidate if a user took one back; they keep their order.
    order = (evaluations.c.candidate, evaluations.c.stage, evaluations.c.id)
    for row in store.read_rows(evaluations, names, order=order):
        add("evaluation", *row)
    for row in store.read_rows(events, ("id", "kind", "detail", "state")):
        add("event", *row)
    for row in store.read_rows(measurements, value_names(measurements)):
        add("measurement", *row)
    return whole.hexdigest()
