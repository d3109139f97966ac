"""The network: an encoder of crystals, and decoders of compositions, occupied positions and geometries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from invdesign.generators.network.chemistry import list_elements
from invdesign.generators.network.examples import (
    CELL_NUMBERS,
    MOST_COUNT,
    MOST_ELEMENTS,
    MOST_UNITS,
    Batch,
)
from invdesign.generators.network.layers import (
    WAVES,
    Sizes,
    Vocabulary,
    attention,
    average,
    embed_waves,
    perceptron,
)
from invdesign.generators.network.positions import MOST_LETTERS

NEVER = -1e9  # logit of what is not allowed
BINS = 64  # of a free coordinate (chosen)
MIXTURE = 6  # normal distributions of a cell (chosen)
DOMAINS = 2
LEAST_WIDTH = 0.02  # standard deviation of a number of the cell (chosen)


@dataclass(frozen=True, eq=False)
class Tensors:
    """A batch as tensors, with masks; shapes as in `Batch`."""

    group: Tensor
    units: Tensor
    domain: Tensor
    elements: Tensor
    counts: Tensor
    species: Tensor
    position: Tensor
    left: Tensor
    free: Tensor
    cell: Tensor
    targets: Tensor
    real: Tensor

    @property
    def holds(self) -> Tensor:
        """True where there is an element, shape (b, k)."""
        return self.counts > 0

    @property
    def occupied(self) -> Tensor:
        """True where there is an orbit, shape (b, o)."""
        return self.position >= 0


def to_tensors(batch: Batch) -> Tensors:
    """Convert a batch to tensors."""
    whole = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in vars(batch).items()}
    return Tensors(**{name: t.float() if t.is_floating_point() else t for name, t in whole.items()})


class CompositionReader(nn.Module):
    """Tokens of the elements of a formula, each seeing the others, and their mean."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.numbers = nn.Linear(3, sizes.width)
        self.mixing = attention(sizes, 1)

    def forward(self, words: Vocabulary, elements: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (b, k, d) and their mean (b, d)."""
        held = counts > 0
        total = counts.sum(1, keepdim=True).float()
        kinds = held.sum(1, keepdim=True).float()
        numbers = torch.stack(
            [counts.float().clamp(min=1).log(), counts / total, (kinds / 3.0).expand_as(counts)], dim=-1
        )
        tokens = words.elements[elements] + words.count_names(counts) + self.numbers(numbers)
        mixed = self.mixing(tokens, src_key_padding_mask=~held)
        return mixed, average(mixed, held)


class Encoder(nn.Module):
    """Mean and log variance of the code of a crystal; the order of orbits does not matter."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.places = nn.Linear(3 * 2 * WAVES, sizes.width)
        self.cells = nn.Linear(2 * CELL_NUMBERS, sizes.width)
        self.numbers = nn.Linear(2, sizes.width)
        self.mixing = attention(sizes, sizes.layers)
        self.codes = perceptron(3 * sizes.width, sizes.hidden, 2 * sizes.latent)

    def forward(
        self, words: Vocabulary, batch: Tensors, read: Tensor, pooled: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean and log variance, each (b, latent).

        Args:
            words: embeddings.
            batch: crystals.
            read: tokens of the elements, shape (b, k, d).
            pooled: their mean, shape (b, d).
        """
        position = batch.position.clamp(min=0)
        own = torch.gather(read, 1, batch.species.unsqueeze(-1).expand(-1, -1, read.shape[-1]))
        size = words.multiplicity[position].float()
        share = torch.stack([size.log(), size / batch.left.clamp(min=1)], dim=-1)
        orbits = own + words.positions[position] + self.places(embed_waves(batch.free).flatten(-2))
        orbits = orbits + self.numbers(share)
        known = ~torch.isnan(batch.cell)
        cells = self.cells(torch.cat([torch.nan_to_num(batch.cell), known.float()], dim=-1))
        whole = cells + words.groups[batch.group] + words.unit_names(batch.units)
        tokens = torch.cat([whole.unsqueeze(1), orbits], dim=1)
        held = torch.cat([torch.ones_like(batch.occupied[:, :1]), batch.occupied], dim=1)
        mixed = self.mixing(tokens, src_key_padding_mask=~held)
        found = self.codes(torch.cat([mixed[:, 0], average(mixed[:, 1:], batch.occupied), pooled], dim=-1))
        mean, spread = found.chunk(2, dim=-1)
        return mean, spread.clamp(-8.0, 4.0)


class CompositionDecoder(nn.Module):
    """Number of elements, then element and count one after the other."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.start = perceptron(sizes.width, sizes.hidden, sizes.hidden)
        self.kinds = nn.Linear(sizes.hidden, MOST_ELEMENTS + 1)
        self.kind_names = nn.Embedding(MOST_ELEMENTS + 1, sizes.width)
        self.step = nn.GRU(2 * sizes.width, sizes.hidden, batch_first=True)
        self.query = nn.Linear(sizes.hidden, sizes.width)
        self.bias = nn.Parameter(torch.zeros(len(list_elements())))
        self.amounts = perceptron(sizes.hidden + sizes.width, sizes.hidden, MOST_COUNT + 1)

    def begin(self, context: Tensor) -> Tensor:
        """First state (b, h) from the context (b, d)."""
        return torch.as_tensor(self.start(context)).tanh()

    def advance(self, state: Tensor, word: Tensor, to_come: Tensor) -> Tensor:
        """Next state (b, h) after an element with its count.

        Args:
            state: shape (b, h).
            word: embedding of the element and its count, shape (b, d); zeros at the start.
            to_come: number of elements still to come, shape (b,).
        """
        inputs = torch.cat([word, self.kind_names(to_come)], dim=-1).unsqueeze(1)
        return torch.as_tensor(self.step(inputs, state.unsqueeze(0).contiguous())[0]).squeeze(1)

    def choose_element(self, state: Tensor, words: Vocabulary) -> Tensor:
        """Logits of elements, shape (..., e)."""
        logits = self.query(state) @ words.elements.T / state.shape[-1] ** 0.25
        return torch.add(logits, self.bias)

    def choose_amount(self, state: Tensor, element: Tensor) -> Tensor:
        """Logits of counts given the element's embedding, shape (..., MOST_COUNT + 1)."""
        return torch.as_tensor(self.amounts(torch.cat([state, element], dim=-1)))

    def measure(self, words: Vocabulary, context: Tensor, batch: Tensors) -> Tensor:
        """Negative log likelihood of compositions, shape (b,)."""
        held = batch.holds
        kinds = held.sum(1)
        state = self.begin(context)
        loss = functional.cross_entropy(self.kinds(state), kinds, reduction="none")
        spoken = words.elements[batch.elements] + words.count_names(batch.counts)
        shifted = functional.pad(spoken[:, :-1], (0, 0, 1, 0))
        to_come = (kinds.unsqueeze(1) - torch.arange(held.shape[1])).clamp(min=0)
        inputs = torch.cat([shifted, self.kind_names(to_come)], dim=-1)
        states = self.step(inputs, state.unsqueeze(0))[0]
        logits = self.choose_element(states, words)
        last = functional.pad(batch.elements[:, :-1], (1, 0), value=-1).unsqueeze(-1)
        places = torch.arange(logits.shape[-1])
        room = logits.shape[-1] - to_come.unsqueeze(-1)
        logits = logits.masked_fill((places <= last) | (places > room), NEVER)
        which = functional.cross_entropy(logits.transpose(1, 2), batch.elements, reduction="none")
        amounts = self.choose_amount(states, words.elements[batch.elements])
        how_many = functional.cross_entropy(amounts.transpose(1, 2), batch.counts, reduction="none")
        return loss + torch.where(held, which + how_many, 0.0).sum(1)


class SiteDecoder(nn.Module):
    """Formula units, space group, then the positions of each element's atoms, special ones first."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width, hidden = sizes.width, sizes.hidden
        self.units = perceptron(width, hidden, MOST_UNITS + 1)
        self.group = perceptron(width, hidden, 231)
        self.start = perceptron(width, hidden, hidden)
        self.numbers = nn.Linear(4, width)
        self.step = nn.GRU(3 * width, hidden, batch_first=True)
        self.query = perceptron(hidden + width, hidden, width)
        self.key = nn.Linear(width, width)
        self.dropout = nn.Dropout(sizes.dropout)

    def choose_units(self, context: Tensor) -> Tensor:
        """Logits of the number of formula units, shape (b, MOST_UNITS + 1)."""
        return torch.as_tensor(self.units(context))

    def choose_group(self, words: Vocabulary, context: Tensor, units: Tensor) -> Tensor:
        """Logits of groups, shape (b, 231)."""
        return torch.as_tensor(self.group(context + words.unit_names(units)))

    def begin(self, words: Vocabulary, context: Tensor, units: Tensor, group: Tensor) -> Tensor:
        """First state (b, h)."""
        whole = context + words.unit_names(units) + words.groups[group]
        return torch.as_tensor(self.start(whole)).tanh()

    def describe(
        self, words: Vocabulary, previous: Tensor, element: Tensor, left: Tensor, total: Tensor, group: Tensor
    ) -> Tensor:
        """Inputs of a step, shape (..., 3 d).

        Args:
            words: embeddings.
            previous: row of the position of the orbit before, -1 where there is none, shape (...,).
            element: token of the current element, shape (..., d).
            left: its atoms without a place, shape (...,).
            total: atoms of the cell, shape (...,).
            group: numbers of the groups, shape (...,).
        """
        spoken = words.positions[previous.clamp(min=0)] * (previous >= 0).unsqueeze(-1)
        few = left.clamp(max=MOST_COUNT)
        numbers = torch.stack(
            [left.float().log(), left / total, total.float().log() / 3.0, (left % 2).float()], dim=-1
        )
        own = element + self.numbers(numbers)
        return torch.cat([spoken, own, words.count_names(few) + words.groups[group]], dim=-1)

    def choose_letter(self, words: Vocabulary, states: Tensor, element: Tensor, group: Tensor) -> Tensor:
        """Logits of letters without any mask but the group's own, shape (..., MOST_LETTERS)."""
        query = self.query(torch.cat([states, element], dim=-1))
        letters = torch.arange(MOST_LETTERS)
        rows = words.start[group].unsqueeze(-1) + letters
        exists = letters < words.count[group].unsqueeze(-1)
        keys = self.key(words.positions)[rows.clamp(max=len(words.multiplicity) - 1)]
        logits = torch.einsum("...ld,...d->...l", keys, query) / query.shape[-1] ** 0.5
        return torch.where(exists, logits, NEVER)

    def measure(
        self, words: Vocabulary, context: Tensor, read: Tensor, batch: Tensors
    ) -> Mapping[str, Tensor]:
        """Negative log likelihoods of units, group and letters, each (b,)."""
        units = functional.cross_entropy(self.choose_units(context), batch.units, reduction="none")
        logits = self.choose_group(words, context, batch.units)
        group = functional.cross_entropy(logits, batch.group, reduction="none")
        element = torch.gather(read, 1, batch.species.unsqueeze(-1).expand(-1, -1, read.shape[-1]))
        previous = functional.pad(batch.position[:, :-1], (1, 0), value=-1)
        total = (batch.counts.sum(1) * batch.units).unsqueeze(1).expand_as(batch.left)
        groups = batch.group.unsqueeze(1).expand_as(batch.left)
        inputs = self.describe(words, previous, element, batch.left.clamp(min=1), total, groups)
        start = self.begin(words, context, batch.units, batch.group)
        states = self.dropout(self.step(self.dropout(inputs), start.unsqueeze(0))[0])
        letters = (batch.position - words.start[batch.group].unsqueeze(1)).clamp(min=0)
        logits = self.choose_letter(words, states, element, groups)
        logits = logits.masked_fill(~find_open_letters(words, batch, letters), NEVER)
        site = functional.cross_entropy(logits.transpose(1, 2), letters, reduction="none")
        return {"units": units, "group": group, "sites": torch.where(batch.occupied, site, 0.0).sum(1)}


def find_open_letters(words: Vocabulary, batch: Tensors, letters: Tensor) -> Tensor:
    """Letters that may follow, by size, order and single use, shape (b, o, MOST_LETTERS).

    Args:
        words: embeddings with the table of positions.
        batch: crystals.
        letters: places of the letters, shape (b, o).
    """
    places = torch.arange(MOST_LETTERS)
    rows = words.start[batch.group].unsqueeze(-1) + places
    rows = rows.clamp(max=len(words.multiplicity) - 1)  # shape (b, letters)
    fits = words.multiplicity[rows].unsqueeze(1) <= batch.left.unsqueeze(-1)
    same = functional.pad((batch.species[:, 1:] == batch.species[:, :-1]), (1, 0), value=False)
    before = functional.pad(letters[:, :-1], (1, 0), value=0)
    later = (places >= before.unsqueeze(-1)) | ~same.unsqueeze(-1)
    spoken = functional.one_hot(letters, MOST_LETTERS) * batch.occupied.unsqueeze(-1)
    used = functional.pad(spoken[:, :-1].cumsum(1), (0, 0, 1, 0)) > 0
    single = (words.freedom[rows] == 0).unsqueeze(1)
    return fits & later & ~(used & single)


class GeometryDecoder(nn.Module):
    """Cell and free coordinates, with the whole of the occupied positions in view."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width, hidden = sizes.width, sizes.hidden
        self.mixing = attention(sizes, sizes.layers)
        self.cells = perceptron(2 * width, hidden, MIXTURE * (1 + 2 * CELL_NUMBERS))
        self.cell_words = nn.Linear(2 * CELL_NUMBERS, width)
        self.axes = nn.Embedding(3, width)
        self.before = nn.Linear(2 * WAVES + 1, width)
        self.step = nn.GRU(2 * width, hidden, batch_first=True)
        self.bins = perceptron(hidden + width, hidden, 2 * BINS)
        self.dropout = nn.Dropout(sizes.dropout)

    def view(self, words: Vocabulary, context: Tensor, read: Tensor, batch: Tensors) -> tuple[Tensor, Tensor]:
        """Tokens of the orbits (b, o, d) and of the whole (b, 2 d)."""
        own = torch.gather(read, 1, batch.species.unsqueeze(-1).expand(-1, -1, read.shape[-1]))
        whole = context + words.groups[batch.group] + words.unit_names(batch.units)
        orbits = own + words.positions[batch.position.clamp(min=0)]
        tokens = torch.cat([whole.unsqueeze(1), orbits], dim=1)
        held = torch.cat([torch.ones_like(batch.occupied[:, :1]), batch.occupied], dim=1)
        mixed = self.mixing(tokens, src_key_padding_mask=~held)
        return mixed[:, 1:], torch.cat([mixed[:, 0], average(mixed[:, 1:], batch.occupied)], dim=-1)

    def spread_cells(self, whole: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mixture of cells: log weights (b, m), means (b, m, 6), log deviations (b, m, 6)."""
        found = self.cells(whole)
        weights = found[:, :MIXTURE].log_softmax(-1)
        means, spreads = found[:, MIXTURE:].reshape(len(whole), MIXTURE, 2, CELL_NUMBERS).unbind(2)
        return weights, means, (functional.softplus(spreads - 1.0) + LEAST_WIDTH).log()

    def measure_cells(self, whole: Tensor, cell: Tensor) -> Tensor:
        """Negative log density of cells (b, 6), fixed numbers left out, shape (b,)."""
        weights, means, spreads = self.spread_cells(whole)
        known = ~torch.isnan(cell).unsqueeze(1)
        apart = (torch.nan_to_num(cell).unsqueeze(1) - means) / spreads.exp()
        each = -0.5 * apart**2 - spreads - 0.5 * np.log(2.0 * np.pi)
        return -torch.logsumexp(weights + torch.where(known, each, 0.0).sum(-1), dim=-1)

    def word_cell(self, cell: Tensor) -> Tensor:
        """Embedding of cells (b, 6), shape (b, d)."""
        known = ~torch.isnan(cell)
        return torch.as_tensor(self.cell_words(torch.cat([torch.nan_to_num(cell), known.float()], dim=-1)))

    def describe(self, orbit: Tensor, axis: Tensor, before: Tensor, cell: Tensor) -> Tensor:
        """Inputs of a step, shape (..., 2 d).

        Args:
            orbit: token of the orbit, shape (..., d).
            axis: place of the free coordinate in its orbit, shape (...,).
            before: coordinate of the step before, NaN at the first, shape (...,).
            cell: embedding of the cell, shape (..., d).
        """
        first = torch.isnan(before).float().unsqueeze(-1)
        spoken = self.before(torch.cat([embed_waves(before), first], dim=-1))
        return torch.cat([orbit + self.axes(axis), spoken + cell], dim=-1)

    def choose_bins(self, states: Tensor, orbit: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of bins and offsets within them (-0.5 to 0.5), each (..., BINS)."""
        logits, offsets = self.bins(torch.cat([states, orbit], dim=-1)).chunk(2, dim=-1)
        return logits, 0.5 * offsets.tanh()

    def measure(
        self, words: Vocabulary, context: Tensor, read: Tensor, batch: Tensors
    ) -> Mapping[str, Tensor]:
        """Negative log likelihoods of cells and coordinates, and the error of offsets in bins, each (b,)."""
        orbits, whole = self.view(words, context, read, batch)
        cells = self.measure_cells(whole, batch.cell)
        steps = list_steps(batch.free)
        zero = torch.zeros(len(cells))
        if not steps.values.shape[1]:
            return {"cells": cells, "bins": zero, "offsets": zero}
        own = torch.gather(orbits, 1, steps.orbit.unsqueeze(-1).expand(-1, -1, orbits.shape[-1]))
        before = functional.pad(steps.values[:, :-1], (1, 0), value=float("nan"))
        cell = self.word_cell(batch.cell).unsqueeze(1).expand_as(own)
        states = self.dropout(self.step(self.describe(own, steps.axis, before, cell))[0])
        logits, offsets = self.choose_bins(states, own)
        scaled = torch.nan_to_num(steps.values) * BINS
        nearest = scaled.round().long() % BINS
        bins = functional.cross_entropy(
            logits.transpose(1, 2), nearest, reduction="none", label_smoothing=0.02
        )
        apart = scaled - scaled.round() - torch.gather(offsets, 2, nearest.unsqueeze(-1)).squeeze(-1)
        held = ~torch.isnan(steps.values)
        return {
            "cells": cells,
            "bins": torch.where(held, bins, 0.0).sum(1),
            "offsets": torch.where(held, apart.abs(), 0.0).sum(1),
        }


@dataclass(frozen=True, eq=False)
class Steps:
    """Free coordinates one after the other.

    Attributes:
        orbit, axis: orbit and place in it of each step, shape (b, s).
        values: coordinates, NaN beyond the last, shape (b, s).
    """

    orbit: Tensor
    axis: Tensor
    values: Tensor


def list_steps(free: Tensor) -> Steps:
    """List the free coordinates (b, o, 3) of each crystal, orbit by orbit."""
    flat = free.flatten(1)
    known = ~torch.isnan(flat)
    most = int(known.sum(1).max()) if len(flat) else 0
    order = torch.argsort((~known).to(torch.int8), dim=1, stable=True)[:, :most]
    return Steps(order // 3, order % 3, torch.gather(flat, 1, order))


class CrystalNetwork(nn.Module):
    """Encoder and decoders with the embeddings that they share."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.words = Vocabulary(sizes)
        self.reader = CompositionReader(sizes)
        self.encoder = Encoder(sizes)
        self.from_code = nn.Linear(sizes.latent, sizes.width)
        self.no_code = nn.Parameter(torch.zeros(sizes.width))
        self.domains = nn.Embedding(DOMAINS, sizes.width)
        self.compositions = CompositionDecoder(sizes)
        self.sites = SiteDecoder(sizes)
        self.geometry = GeometryDecoder(sizes)
        self.regressor = perceptron(sizes.latent, sizes.hidden, max(len(sizes.targets), 1))

    def encode(self, batch: Tensors) -> tuple[Tensor, Tensor]:
        """Mean and log variance of codes, each (b, latent)."""
        read, pooled = self.reader(self.words, batch.elements, batch.counts)
        mean, spread = self.encoder(self.words, batch, read, pooled)
        return mean, spread

    def set_context(self, codes: Tensor | None, domain: Tensor, dropped: Tensor | None = None) -> Tensor:
        """Context of the decoders, shape (b, d).

        Args:
            codes: shape (b, latent); None for crystals without a code.
            domain: shape (b,).
            dropped: True where the code is not to be used, shape (b,).
        """
        none = self.no_code.expand(len(domain), -1)
        if codes is None:
            return torch.add(none, self.domains(domain))
        found = self.from_code(codes)
        if dropped is not None:
            found = torch.where(dropped.unsqueeze(-1), none, found)
        return torch.as_tensor(found + self.domains(domain))

    def measure(
        self, batch: Tensors, codes: Tensor | None, dropped: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Losses by part, each (b,).

        Args:
            batch: crystals.
            codes: shape (b, latent); None without.
            dropped: True where the code is not to be used, shape (b,).
        """
        context = self.set_context(codes, batch.domain, dropped)
        read, pooled = self.reader(self.words, batch.elements, batch.counts)
        losses = {"composition": self.compositions.measure(self.words, context, batch) * batch.real}
        losses |= self.sites.measure(self.words, context + pooled, read, batch)
        losses |= self.geometry.measure(self.words, context + pooled, read, batch)
        return losses
