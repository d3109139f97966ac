"""Sizes, embeddings and layers that the parts of the network share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from invdesign.arrays import FloatArray
from invdesign.generators.network.chemistry import describe_elements, list_elements
from invdesign.generators.network.examples import MOST_COUNT, MOST_UNITS
from invdesign.generators.network.positions import load_positions
from invdesign.settings import Frozen

WAVES = 4  # frequencies by which a coordinate is embedded (chosen)


class Sizes(Frozen):
    """Sizes of the network."""

    latent: int = 32
    """Numbers in a code."""
    width: int = 96
    """Numbers in an embedding."""
    hidden: int = 192
    """Numbers in the state of a decoder."""
    layers: int = 2
    """Layers of attention over orbits."""
    heads: int = 4
    """Heads of attention."""
    dropout: float = 0.1
    """Share of numbers dropped in training."""
    targets: tuple[str, ...] = ()
    """Properties that are predicted from codes."""


def perceptron(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two layers with one nonlinearity."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, outputs))


def attention(sizes: Sizes, layers: int) -> nn.TransformerEncoder:
    """Layers of attention over tokens whose order does not matter."""
    layer = nn.TransformerEncoderLayer(
        sizes.width,
        sizes.heads,
        2 * sizes.width,
        dropout=sizes.dropout,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)


def average(tokens: Tensor, held: Tensor) -> Tensor:
    """Mean of tokens (b, n, d) where `held` (b, n)."""
    weights = held.unsqueeze(-1).to(tokens.dtype)
    return (tokens * weights).sum(1) / weights.sum(1).clamp(min=1.0)


def embed_waves(values: Tensor) -> Tensor:
    """Sines and cosines of fractional coordinates; zeros where NaN. Shape (..., 2 * WAVES)."""
    known = ~torch.isnan(values)
    angle = 2.0 * torch.pi * torch.nan_to_num(values).unsqueeze(-1) * torch.arange(1, WAVES + 1)
    return torch.cat([angle.sin(), angle.cos()], dim=-1) * known.unsqueeze(-1)


class Vocabulary(nn.Module):
    """Embeddings of elements, positions, groups and numbers, by features and by name."""

    _elements: Tensor
    _positions: Tensor
    _groups: Tensor
    multiplicity: Tensor
    freedom: Tensor
    start: Tensor
    count: Tensor

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        table = load_positions()
        self.register_buffer("_elements", _standardise(describe_elements(list_elements())), persistent=False)
        self.register_buffer("_positions", _standardise(table.features), persistent=False)
        self.register_buffer("_groups", _standardise(table.groups), persistent=False)
        self.register_buffer("multiplicity", torch.from_numpy(table.multiplicity), persistent=False)
        self.register_buffer("freedom", torch.from_numpy(table.free), persistent=False)
        self.register_buffer("start", torch.from_numpy(table.start), persistent=False)
        self.register_buffer("count", torch.from_numpy(table.count), persistent=False)
        width = sizes.width
        self.element_features = nn.Linear(self._elements.shape[1], width)
        self.position_features = nn.Linear(self._positions.shape[1], width)
        self.group_features = nn.Linear(self._groups.shape[1], width)
        self.element_names = nn.Embedding(len(self._elements), width)
        self.position_names = nn.Embedding(len(self._positions), width)
        self.group_names = nn.Embedding(len(self._groups), width)
        self.count_names = nn.Embedding(MOST_COUNT + 1, width)
        self.unit_names = nn.Embedding(MOST_UNITS + 1, width)
        for names in (self.element_names, self.position_names, self.group_names):
            nn.init.normal_(names.weight, std=0.1)

    @property
    def elements(self) -> Tensor:
        """Embeddings of all elements, shape (e, d)."""
        return torch.add(self.element_features(self._elements), self.element_names.weight)

    @property
    def positions(self) -> Tensor:
        """Embeddings of all positions, shape (p, d)."""
        return torch.add(self.position_features(self._positions), self.position_names.weight)

    @property
    def groups(self) -> Tensor:
        """Embeddings of all groups, shape (231, d)."""
        return torch.add(self.group_features(self._groups), self.group_names.weight)


def _standardise(features: FloatArray) -> Tensor:
    """Features of mean 0 and deviation 1."""
    spread = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / (spread + (spread <= 0.0))
    return torch.from_numpy(scaled).float()
