"""Learning of the scale of elements from a library: which elements take each other's place in crystals."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.generators.prototypes.library import Family, Library, atomic_numbers
from invdesign.generators.prototypes.ranking import MAX_HULL, ElementScale, fit_volumes
from invdesign.rng import Rng, rng_for
from invdesign.structures.charges import oxidation_states
from invdesign.threads import one_thread

if TYPE_CHECKING:
    import torch

LARGEST_NUMBER = 103  # of an element with a distance; heavier ones are in no crystal
DIMENSIONS = 32  # of the space in which elements lie (chosen)
EPOCHS = 6  # passes through the formulas; more gained nothing on formulas held out of the data to learn from
BATCH = 32  # formulas in one step (chosen)
LEARNING_RATE = 0.02  # largest, of Adam on one cycle (chosen)
PULL = 1e-4  # weight of the squared distance from the first coordinates (chosen on formulas held out)
SPREAD = 0.7  # of first coordinates, which are properties of elements (chosen)
UNLIKELY = -30.0  # log-probability below which a formula teaches nothing: none of its frameworks is known
MOST_SLOTS = 5  # of families that are learnt from; others are few and have many orders (chosen)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Lesson:
    """One formula with its frameworks.

    Attributes:
        target: shape (k,), atomic numbers in the order of the family's ratios.
        rows: templates of this formula, which have no vote.
        frameworks: numbers of its frameworks.
    """

    target: IntArray
    rows: IntArray
    frameworks: IntArray


def collect_lessons(family: Family) -> list[Lesson]:
    """Collect the formulas of a family, each with the frameworks that it has."""
    elements = family.elements
    found = []
    keys = [tuple(sorted(zip(family.ratios, row, strict=True))) for row in elements.tolist()]
    rows_by_formula: dict[object, list[int]] = {}
    for row, key in enumerate(keys):
        rows_by_formula.setdefault(key, []).append(row)
    for rows in rows_by_formula.values():
        target = elements[rows[0]]
        # A template stands for the frameworks of its own elements in every order that gives the target.
        fits = (elements[rows][:, family.orders] == target).all(axis=2)
        own = np.unique(family.frameworks[rows][fits])
        found.append(Lesson(target, np.array(rows), own))
    return found


def describe_elements() -> FloatArray:
    """Properties of elements by which they first lie in space, shape (z, d): of similar size where similar."""
    from pymatgen.core import Element

    rows = np.zeros((LARGEST_NUMBER + 1, 7))
    for symbol, number in atomic_numbers().items():
        if number > LARGEST_NUMBER:
            continue
        element = Element(symbol)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            negativity, radius = float(element.X), element.atomic_radius
        states = oxidation_states(symbol)
        rows[number] = [
            2.0 * (1.5 if np.isnan(negativity) else negativity),
            2.0 * float(radius or 1.5),
            element.mendeleev_no / 12.0,
            float(np.mean(states)) / 2.0,
            max(states) / 2.0,
            min(states) / 2.0,
            element.row / 2.0,
        ]
    return rows


@one_thread()
def learn_scale(library: Library, seed: int = 0, epochs: int = EPOCHS) -> ElementScale:
    """Learn the scale of elements by which templates of other formulas find the frameworks of a formula.

    Args:
        library: known crystals.
        seed: of the order of lessons.
        epochs: passes through the formulas.
    """
    model = _Model(seed)
    families = [
        family
        for ratios in library.list_ratios()
        if len(ratios) <= MOST_SLOTS and (family := library.find_family(ratios)) and len(family.templates) > 1
    ]
    lessons = [(family, collect_lessons(family)) for family in families]
    _fit_model(model, lessons, seed, epochs)
    return model.to_scale(fit_volumes(library.templates, LARGEST_NUMBER + 1))


class _Model:
    """Coordinates of elements and the other numbers of an `ElementScale`, as tensors that learn."""

    def __init__(self, seed: int) -> None:
        import torch

        rng = rng_for(seed, 0, "coordinates of elements")
        start = 0.01 * rng.standard_normal((LARGEST_NUMBER + 1, DIMENSIONS))
        described = describe_elements()
        start[:, : described.shape[1]] += SPREAD * described
        self.first = torch.tensor(start, dtype=torch.float32)
        self.coordinates = self.first.clone().requires_grad_()
        # Logarithm of the scale, power, hull in units of 0.1 eV/atom, size.
        self.others = torch.tensor([-1.0, 0.3, 0.2, 0.0]).requires_grad_()

    @property
    def parameters(self) -> list[torch.Tensor]:
        return [self.coordinates, self.others]

    def measure_distances(self) -> torch.Tensor:
        """Squared distances of elements, shape (z, z)."""
        found: torch.Tensor = ((self.coordinates[:, None] - self.coordinates[None]) ** 2).sum(-1)
        return found

    def score(self, targets: torch.Tensor, family: dict[str, Any]) -> torch.Tensor:
        """Scores of templates for formulas (t, k), shape (t, m, p), as `ElementScale.score_templates`."""
        import torch

        distances = self.measure_distances()
        weights = torch.exp(self.others[0]) * family["share"] ** self.others[1]
        apart = sum(
            weights[slot] * distances[targets[:, slot, None, None], family["elements"][None, :, :, slot]]
            for slot in range(targets.shape[1])
        )
        bias = self.others[3] * family["log_size"] - self.others[2] * family["hull"]
        scores: torch.Tensor = bias[None, :, None] - apart
        return scores

    def to_scale(self, volumes: FloatArray) -> ElementScale:
        """Scale with the learnt numbers."""
        import torch

        with torch.no_grad():
            apart = self.measure_distances().numpy().astype(np.float64)
            log_scale, power, hull, size = self.others.tolist()
        return ElementScale(
            apart=apart,
            volumes=volumes,
            scale=float(np.exp(log_scale)),
            power=power,
            hull=10.0 * hull,
            size=size,
        )


def _fit_model(
    model: _Model, lessons: Sequence[tuple[Family, Sequence[Lesson]]], seed: int, epochs: int
) -> None:
    """Fit the model to lessons by stochastic gradients."""
    import torch

    optimizer = torch.optim.Adam(model.parameters, lr=LEARNING_RATE)
    steps = epochs * sum(-(-len(own) // BATCH) for _, own in lessons)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps + 1)
    tensors = [_to_tensors(family) for family, _ in lessons]
    rng = rng_for(seed, 0, "order of lessons")
    for epoch in range(epochs):
        losses = []
        for place, batch in _draw_batches(lessons, rng):
            likelihood = _measure_likelihood(model, batch, tensors[place])
            useful = likelihood[likelihood > UNLIKELY]
            if len(useful):
                loss = -useful.sum() / BATCH + PULL * ((model.coordinates - model.first) ** 2).sum()
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]  # torch
                optimizer.step()
                losses += (-useful.detach()).tolist()
            schedule.step()
        logger.info("epoch %d: %.3f nats per formula", epoch + 1, np.mean(losses) if losses else np.nan)


def _draw_batches(
    lessons: Sequence[tuple[Family, Sequence[Lesson]]], rng: Rng
) -> Iterator[tuple[int, list[Lesson]]]:
    """Draw all lessons once in batches of one family, in random order."""
    batches = []
    for place, (_, own) in enumerate(lessons):
        order = rng.permutation(len(own)).tolist()
        batches += [
            (place, [own[k] for k in order[start : start + BATCH]]) for start in range(0, len(order), BATCH)
        ]
    yield from (batches[k] for k in rng.permutation(len(batches)).tolist())


def _to_tensors(family: Family) -> dict[str, Any]:
    """Arrays of a family as tensors."""
    import torch

    share = np.array(family.ratios) / sum(family.ratios) * len(family.ratios)
    return {
        "share": torch.tensor(share, dtype=torch.float32),
        "elements": torch.tensor(family.elements[:, family.orders]),
        "hull": torch.tensor(10.0 * np.clip(family.hulls, 0.0, MAX_HULL), dtype=torch.float32),
        "log_size": torch.tensor(np.log(family.sizes), dtype=torch.float32),
        "frameworks": torch.tensor(family.frameworks.ravel()),
        "count": int(family.frameworks.max()) + 1,
    }


def _measure_likelihood(model: _Model, batch: Sequence[Lesson], family: dict[str, Any]) -> torch.Tensor:
    """Log-probabilities of the frameworks of formulas, their own templates left out, shape (t,)."""
    import torch

    targets = torch.tensor(np.array([lesson.target for lesson in batch]))
    scores = model.score(targets, family)
    barred = torch.zeros(scores.shape[:2], dtype=torch.bool)
    for place, lesson in enumerate(batch):
        barred[place, lesson.rows] = True
    flat = scores.masked_fill(barred[:, :, None], -1e9).reshape(len(batch), -1)
    top = flat.max(dim=1, keepdim=True).values
    places = family["frameworks"][None].expand(len(batch), -1)
    votes = torch.zeros(len(batch), family["count"]).scatter_add(1, places, torch.exp(flat - top))
    logs = torch.log(votes / votes.sum(dim=1, keepdim=True) + 1e-30)
    return torch.stack(
        [torch.logsumexp(logs[place, lesson.frameworks], 0) for place, lesson in enumerate(batch)]
    )
