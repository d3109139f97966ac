"""Profile of a bicrystal by layer: composition of each layer beside that of the unmixed slabs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from invdesign.report.bicrystals import SIDE_COLOURS, is_bicrystal, unwrap_bicrystal
from invdesign.report.figures import Figure, base_layout, round_for_json, titled_axis
from invdesign.report.structure import hex_colour
from invdesign.structures.exchanges import element_of
from invdesign.structures.formulas import order_formula
from invdesign.structures.site_labels import FILM, LAYER, NATIVE, SIDE, SUBSTRATE, read_labels

if TYPE_CHECKING:
    from pymatgen.core import Structure

MAX_LAYERS = 30  # rows of the table; chosen

Counts = Mapping[tuple[str, int], Counter[str]]
"""Number of atoms by element, by side and layer."""


@dataclass(frozen=True, slots=True)
class LayerRow:
    """A layer in words.

    Attributes:
        side: `substrate` or `film`.
        layer: 1 at the plane.
        height: Å from the plane, mean of its atoms; below it negative.
        formula, unmixed: atoms here and without exchanges, for display.
        change: `−1 Co, +1 P`; empty where nothing changed.
    """

    side: str
    layer: int
    height: str
    formula: str
    unmixed: str
    change: str


@dataclass(frozen=True, slots=True)
class LayersView:
    """Profile of one candidate: a table and a figure, and the legend of the figure."""

    rows: Sequence[LayerRow]
    omitted: int
    figure: Figure
    legend: Sequence[tuple[str, str, str]]


def count_layers(structure: Structure) -> dict[tuple[str, int], Counter[str]]:
    """Count the atoms of each layer by element.

    Atoms belong to the layer of their site, whatever relaxation did.
    """
    labels = read_labels(structure)
    found: dict[tuple[str, int], Counter[str]] = {}
    for site, side, layer in zip(structure, labels[SIDE], labels[LAYER], strict=True):
        found.setdefault((str(side), int(layer)), Counter())[element_of(site)] += 1
    return found


def count_native_layers(structure: Structure) -> dict[tuple[str, int], Counter[str]]:
    """Count the elements that the perfect crystals have on the sites of each layer.

    Sites that an ion left are missing in a structure, so the unmixed slabs tell more.
    """
    labels = read_labels(structure)
    found: dict[tuple[str, int], Counter[str]] = {}
    for native, side, layer in zip(labels[NATIVE], labels[SIDE], labels[LAYER], strict=True):
        counts = found.setdefault((str(side), int(layer)), Counter())
        if native:
            counts[str(native)] += 1
    return found


def view_layers(structure: Structure, slabs: Sequence[Structure]) -> LayersView | None:
    """View of the layers of a bicrystal; None if it has no labels of one.

    Args:
        structure: the bicrystal.
        slabs: both unmixed slabs; where they are not known, the native elements of the sites.
    """
    labels = read_labels(structure)
    if not is_bicrystal(labels):
        return None
    found = unwrap_bicrystal(structure, labels)
    here = count_layers(structure)
    unmixed = {
        key: counts for slab in slabs for key, counts in count_layers(slab).items()
    } or count_native_layers(structure)
    heights: dict[tuple[str, int], list[float]] = {}
    for side, layer, height in zip(labels[SIDE], labels[LAYER], found.heights.tolist(), strict=True):
        heights.setdefault((str(side), int(layer)), []).append(height)
    keys = sorted(heights, key=lambda key: (key[0] == FILM, key[1] if key[0] == FILM else -key[1]))
    means = {key: float(np.mean(heights[key])) for key in keys}
    near = sorted(keys, key=lambda key: (key[1], key[0]))[:MAX_LAYERS]
    rows = [
        _layer_row(key, means[key], here[key], unmixed.get(key, Counter())) for key in keys if key in near
    ]
    figure, legend = _draw_layers(keys, means, here, unmixed)
    return LayersView(rows, len(keys) - len(rows), figure, legend)


def _layer_row(key: tuple[str, int], height: float, here: Counter[str], unmixed: Counter[str]) -> LayerRow:
    elements = sorted(here.keys() | unmixed.keys())
    changes = [(here[symbol] - unmixed[symbol], symbol) for symbol in elements]
    change = ", ".join(f"{number:+d} {symbol}".replace("-", "−") for number, symbol in changes if number)
    return LayerRow(
        side=key[0],
        layer=key[1],
        height=f"{height:.1f}".replace("-", "−"),
        formula=_write_formula(here),
        unmixed=_write_formula(unmixed),
        change=change,
    )


def _write_formula(counts: Counter[str]) -> str:
    parts = [
        symbol if number == 1 else f"{symbol}{number}" for symbol, number in sorted(counts.items()) if number
    ]
    return order_formula("".join(parts))


def _draw_layers(
    keys: Sequence[tuple[str, int]], means: Mapping[tuple[str, int], float], here: Counts, unmixed: Counts
) -> tuple[Figure, list[tuple[str, str, str]]]:
    """Number of atoms of each element by the height of the layer, and dashed what it is without exchanges."""
    elements = sorted({symbol for counts in here.values() for symbol in counts})
    x = np.array([means[key] for key in keys])
    traces = []
    for symbol in elements:
        colour = hex_colour(symbol, -0.12)
        own = np.array([float(here[key][symbol]) for key in keys])
        other = np.array([float(unmixed.get(key, Counter())[symbol]) for key in keys])
        for values, words, line in (
            (other, "unmixed", {"color": colour, "width": 1.3, "dash": "dot"}),
            (own, "here", {"color": colour, "width": 2}),
        ):
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines+markers" if words == "here" else "lines",
                    "name": f"{symbol} {words}",
                    "x": round_for_json(x),
                    "y": round_for_json(values),
                    "line": line,
                    "marker": {"color": colour, "size": 7},
                    "hoverinfo": "text",
                    "hovertext": [
                        f"{side}, layer {layer}: {value:g} {symbol} {words}"
                        for (side, layer), value in zip(keys, values.tolist(), strict=True)
                    ],
                }
            )
    xaxis = titled_axis("Distance from the plane (Å)")
    yaxis = titled_axis("Atoms in the layer") | {"rangemode": "tozero"}
    layout = base_layout(xaxis, yaxis) | {"shapes": _side_shapes(x.min() - 1.0, x.max() + 1.0)}
    layout["height"] = 300
    legend = [(symbol, hex_colour(symbol, -0.12), "circle") for symbol in elements]
    return {"data": traces, "layout": layout}, legend


def _side_shapes(start: float, end: float) -> list[dict[str, object]]:
    """Tints of both sides, as in the picture."""
    return [
        {
            "type": "rect",
            "xref": "x",
            "yref": "paper",
            "x0": float(left),
            "x1": float(right),
            "y0": 0,
            "y1": 1,
            "layer": "below",
            "fillcolor": SIDE_COLOURS[side],
            "opacity": 0.07,
            "line": {"width": 0},
        }
        for side, left, right in ((SUBSTRATE, start, 0.0), (FILM, 0.0, end))
    ]
