"""Names of features, shared by the spaces."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from invdesign.protocols import Descriptor


def rename_duplicates(descriptors: Iterable[Descriptor]) -> tuple[Descriptor, ...]:
    """Give equal names among `descriptors` a number, as in `density (2)`.

    The first keeps its name.
    """
    found: list[Descriptor] = []
    taken: set[str] = set()
    for descriptor in descriptors:
        name, number = descriptor.name, 1
        while name in taken:
            number += 1
            name = f"{descriptor.name} ({number})"
        taken.add(name)
        found.append(replace(descriptor, name=name))
    return tuple(found)
