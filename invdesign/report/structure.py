"""Pictures of crystals: an SVG that prints, and a figure that turns.

Colours are Jmol's (white becomes grey, to be seen on white), sizes follow covalent radii (both from ASE). Atoms on
faces, edges and corners of the cell are drawn on all of them, as crystallographers do.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations, product
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from markupsafe import Markup, escape

from invdesign.arrays import FloatArray, IntArray
from invdesign.report.figures import Figure, round_for_json
from invdesign.run.run import Run
from invdesign.structures.cells import measure_heights
from invdesign.structures.exchanges import element_of

if TYPE_CHECKING:
    from pymatgen.core import Structure


MAX_ATOMS = 1500  # drawn atoms, with repeated ones; chosen
# Å; atoms nearer to a face are drawn on the opposite one too. Chosen: relaxed atoms are slightly off the face.
BORDER_DISTANCE = 0.35
BOND_FACTOR = 1.15  # bonds are drawn up to this multiple of the sum of covalent radii; chosen
# Pauling scale; drawn bonds have at least this much, except between two nonmetals. Chosen.
MIN_ELECTRONEGATIVITY_DIFFERENCE = 0.4
MIN_RADIUS = 0.53
"""Å, least covalent radius; chosen: hydrogen is visible, and joined to Li at 2.04 Å (LiH) but not over a hydrogen bond."""
# Colours with every channel above the first are darkened by the second; chosen, to be seen on white.
PALE_CHANNEL, PALE_FACTOR = 0.8, 0.78
BALL_FACTOR = 0.48  # radius of a drawn ball over the covalent radius; chosen
MIN_BALL = 0.3  # Å, least radius of a drawn ball; chosen
WIDTH, HEIGHT, MARGIN = 340.0, 240.0, 14.0  # of the SVG, in its units
LABEL_HEIGHT = 20.0  # of the names above tinted bands
YAW, PITCH = np.radians(24.0), np.radians(15.0)  # of the view; chosen
ZOOM = 2.7  # of the picture that turns; chosen
EDGE_SEGMENTS = 24  # pieces of a cell edge, each behind or in front of the atoms; chosen
RING_DISTANCE = 1.9  # of a ring from its ball, in units of the SVG; chosen
HOLE_RADIUS = 0.6  # Å, of the dashed circle at a vacancy; chosen
HALO = 1.35  # radius of the translucent ball around a ringed atom of the picture that turns, in its ball's; chosen
RING_COLOUR = "#111827"


def last_structure(run: Run, id: int) -> tuple[Structure | None, str]:
    """Structure of candidate `id` that was made last and is its own, with its role.

    None if it has none.

    Raises:
        InvdesignError: the space cannot build it here.
    """
    role = run.structure_role(id)
    return run.structure(id, role), role


Ring = Literal["", "exchanged", "void"]
"""Ring around an atom: none, that of an exchanged or foreign atom, or the dashed one of an atom in a void."""


@dataclass(frozen=True, slots=True)
class Band:
    """A tinted part of a picture, across its whole height.

    Attributes:
        name: written into it.
        start, end: Å along the axis that points right.
        colour: as hex.
    """

    name: str
    start: float
    end: float
    colour: str


@dataclass(frozen=True, slots=True)
class Marks:
    """Marks of the labels of sites in a picture.

    Attributes:
        rings: of each of n drawn atoms.
        holes: shape (k, 3), Å, places of vacancies.
        bands: tinted parts.
        limits: Å along the axis that points right, where dashed lines stand.
        view: shape (3, 3), directions of right, up and towards the eye, as rows; None for the usual view.
        frame: shape (2, 2), Å, lower left and upper right corner of what the picture holds, in that view; None to fit the atoms.
    """

    rings: tuple[Ring, ...]
    holes: FloatArray = field(default_factory=lambda: np.empty((0, 3)))
    bands: tuple[Band, ...] = ()
    limits: tuple[float, ...] = ()
    view: FloatArray | None = None
    frame: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """A crystal as drawn.

    Attributes:
        symbols: element of each of n drawn atoms.
        positions: shape (n, 3), Å.
        bonds: shape (b, 2), indices of drawn atoms.
        edges: shape (12, 2, 3), the cell's edges, Å; shape (0, 2, 3) for a part of a crystal.
        lattice: shape (3, 3), Å, one vector per row.
        marks: of labelled sites; None where there are none.
    """

    symbols: tuple[str, ...]
    positions: FloatArray
    bonds: IntArray
    edges: FloatArray
    lattice: FloatArray
    marks: Marks | None = None

    @property
    def view(self) -> FloatArray:
        """Directions of right, up and towards the eye, as rows."""
        own = None if self.marks is None else self.marks.view
        return view_axes(self.lattice) if own is None else own

    def measure_frame(self) -> FloatArray:
        """Lower left and upper right corner of all drawn balls and edges in the view, shape (2, 2), Å."""
        atoms, edges = self.positions @ self.view.T, self.edges.reshape(-1, 3) @ self.view.T
        radii = np.array([ball_radius(symbol) for symbol in self.symbols])[:, None]
        points = np.concatenate([atoms[:, :2] - radii, atoms[:, :2] + radii, edges[:, :2]])
        return np.array([points.min(axis=0), points.max(axis=0)])


def build_scene(structure: Structure) -> Scene | None:
    """Build the scene of a `structure`; None if it has too many atoms."""
    lattice = np.asarray(structure.lattice.matrix, dtype=np.float64)
    symbols, fractions = _repeat_at_borders(structure, lattice)
    if not 0 < len(symbols) <= MAX_ATOMS:
        return None
    positions = fractions @ lattice
    corners = np.array(list(product((0.0, 1.0), repeat=3)))
    edges = [(a @ lattice, b @ lattice) for a, b in combinations(corners, 2) if np.abs(a - b).sum() == 1]
    return Scene(tuple(symbols), positions, find_bonds(symbols, positions), np.array(edges), lattice)


def _repeat_at_borders(structure: Structure, lattice: FloatArray) -> tuple[list[str], FloatArray]:
    """Atoms within the cell; those near a face also on the opposite one."""
    heights = measure_heights(lattice)
    near = BORDER_DISTANCE / heights
    symbols, fractions = [], []
    for site in structure:
        inside = np.asarray(site.frac_coords) % 1.0
        choices = [
            (x, x + 1.0) if x < tolerance else (x, x - 1.0) if x > 1.0 - tolerance else (x,)
            for x, tolerance in zip(inside.tolist(), near.tolist(), strict=True)
        ]
        for place in product(*choices):
            symbols.append(element_of(site))
            fractions.append(place)
    return symbols, np.array(fractions).reshape(-1, 3)


def find_bonds(symbols: Sequence[str], positions: FloatArray) -> IntArray:
    """Find the drawn bonds of atoms.

    Args:
        symbols: elements of n atoms.
        positions: shape (n, 3), Å.

    Returns:
        Shape (b, 2), indices of atoms.
    """
    from pymatgen.core import Element
    from scipy.spatial import KDTree

    radii = np.array([_covalent_radius(symbol) for symbol in symbols])
    pairs = KDTree(positions).query_pairs(2 * BOND_FACTOR * float(radii.max()), output_type="ndarray")
    if len(pairs) == 0:
        return np.empty((0, 2), dtype=np.int64)
    first, second = pairs.T
    distance = np.linalg.norm(positions[first] - positions[second], axis=1)
    close = distance < BOND_FACTOR * (radii[first] + radii[second])
    known = {symbol: Element(symbol) for symbol in set(symbols) if Element.is_valid_symbol(symbol)}

    def may_bond(a: str, b: str) -> bool:
        if a not in known or b not in known:
            return False
        if not (known[a].is_metal or known[b].is_metal):
            return True
        with warnings.catch_warnings():  # elements without an electronegativity: NaN, and so no bond
            warnings.simplefilter("ignore")
            return abs(float(known[a].X) - float(known[b].X)) > MIN_ELECTRONEGATIVITY_DIFFERENCE

    allowed = np.array([may_bond(symbols[a], symbols[b]) for a, b in pairs], dtype=bool)
    return np.asarray(pairs[close & allowed], dtype=np.int64)


def _atomic_number(symbol: str) -> int:
    from ase.data import atomic_numbers

    return int(atomic_numbers.get(symbol, 0))


def _covalent_radius(symbol: str) -> float:
    """Covalent radius (Å), at least `MIN_RADIUS`."""
    from ase.data import covalent_radii

    return max(MIN_RADIUS, float(covalent_radii[_atomic_number(symbol)]))


def ball_radius(symbol: str) -> float:
    """Radius of the drawn ball (Å)."""
    return max(MIN_BALL, BALL_FACTOR * _covalent_radius(symbol))


def _element_colour(symbol: str) -> FloatArray:
    from ase.data.colors import jmol_colors

    colour = np.asarray(jmol_colors[_atomic_number(symbol)], dtype=np.float64)
    return colour * PALE_FACTOR if _is_pale(symbol) else colour


def _is_pale(symbol: str) -> bool:
    from ase.data.colors import jmol_colors

    return float(np.min(jmol_colors[_atomic_number(symbol)])) > PALE_CHANNEL


def hex_colour(symbol: str, mix: float = 0.0) -> str:
    """Colour of the element `symbol` as hex, mixed by `mix`.

    Positive values of `mix` add white, negative ones black.
    """
    base = np.array([1.0, 0.08, 0.58]) if _atomic_number(symbol) == 0 else _element_colour(symbol)
    target = 1.0 if mix > 0 else 0.0
    red, green, blue = np.clip(np.rint(255 * (base + abs(mix) * (target - base))), 0, 255).astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"


# The printed picture.


def view_axes(lattice: FloatArray) -> FloatArray:
    """Directions of right, up and towards the eye, as rows.

    The longest lattice vector lies flat.
    """
    lengths = np.linalg.norm(lattice, axis=1)
    flat = int(np.flatnonzero(lengths > 0.98 * lengths.max())[0])
    right = lattice[flat] / lengths[flat]
    other = lattice[2 if flat != 2 else 1]
    up = other - (other @ right) * right
    up /= np.linalg.norm(up)
    basis = np.array([right, up, np.cross(right, up)])
    yaw = np.array([[np.cos(YAW), 0, np.sin(YAW)], [0, 1, 0], [-np.sin(YAW), 0, np.cos(YAW)]])
    pitch = np.array([[1, 0, 0], [0, np.cos(PITCH), -np.sin(PITCH)], [0, np.sin(PITCH), np.cos(PITCH)]])
    turned: FloatArray = pitch @ yaw @ basis
    return turned


def draw_svg(drawn: Scene, name: str, title: str, *, fit: bool = False) -> Markup:
    """Draw an orthographic picture, from back to front.

    Args:
        drawn: the scene.
        name: makes the ids within the page unique.
        title: for screen readers.
        fit: make the picture only as high as the drawn atoms need.
    """
    view, marks = drawn.view, drawn.marks or Marks(tuple("" for _ in drawn.symbols))
    atoms, edges = drawn.positions @ view.T, drawn.edges @ view.T
    radii = np.array([ball_radius(symbol) for symbol in drawn.symbols])
    low, high = drawn.measure_frame() if marks.frame is None else marks.frame
    top = LABEL_HEIGHT if marks.bands else 0.0
    height = HEIGHT - top
    scale = float(min((WIDTH - 2 * MARGIN) / (high[0] - low[0]), (height - 2 * MARGIN) / (high[1] - low[1])))
    if fit:
        height = scale * float(high[1] - low[1]) + 2 * MARGIN
    middle = (low + high) / 2

    def to_page(point: FloatArray) -> tuple[float, float]:
        return WIDTH / 2 + scale * (point[0] - middle[0]), top + height / 2 - scale * (point[1] - middle[1])

    shapes = [*_edge_shapes(edges, atoms, radii, to_page), *_bond_shapes(drawn, atoms, radii, scale, to_page)]
    for symbol, atom, radius, ring in zip(drawn.symbols, atoms, radii, marks.rings, strict=True):
        x, y = to_page(atom)
        ball = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{scale * radius:.1f}" fill="url(#{name}-{_gradient_id(symbol)})" '
        shapes.append(
            (atom[2], f'{ball}stroke="{hex_colour(symbol, _outline_mix(symbol))}" stroke-width="0.8"/>')
        )
        if ring:  # in front of all atoms, so that one behind others is found
            shapes.append((np.inf, _ring_svg(x, y, scale * radius + RING_DISTANCE, dashed=ring == "void")))
    shapes += [
        (hole[2], _ring_svg(*to_page(hole), scale * HOLE_RADIUS, dashed=True))
        for hole in marks.holes @ view.T
    ]
    shapes.sort(key=lambda shape: shape[0])
    body = _band_svg(marks, to_page, top + height) + "".join(text for _, text in shapes)
    gradients = "".join(_gradient_svg(name, symbol) for symbol in dict.fromkeys(drawn.symbols))
    head = f'<svg viewBox="0 0 {WIDTH:g} {top + height:g}" role="img" class="crystal">'
    return Markup(f"{head}<title>{escape(title)}</title><defs>{gradients}</defs>{body}</svg>")  # noqa: S704 - numbers, our own words, and an escaped title


def _ring_svg(x: float, y: float, radius: float, *, dashed: bool) -> str:
    """Ring around an atom, dark on white, so that it is seen on every ball."""
    place = f'<ellipse cx="{x:.1f}" cy="{y:.1f}" rx="{radius:.1f}" ry="{radius:.1f}" fill="none"'
    dashes = ' stroke-dasharray="3 2"' if dashed else ""
    return f'{place} stroke="#fff" stroke-width="3.6"/>{place} stroke="{RING_COLOUR}" stroke-width="1.7"{dashes}/>'


def _band_svg(marks: Marks, place: Any, height: float) -> str:
    """Tinted bands with their names, and dashed lines across the picture."""
    parts = []
    for band in marks.bands:
        (left, _), (right, _) = place(np.array([band.start, 0.0])), place(np.array([band.end, 0.0]))
        left, right = max(left, 0.0), min(right, WIDTH)
        parts.append(
            f'<rect x="{left:.1f}" y="0" width="{right - left:.1f}" height="{height:.1f}" fill="{band.colour}" fill-opacity="0.1"/>'
            f'<text x="{(left + right) / 2:.1f}" y="15" text-anchor="middle" font-size="12" font-weight="600" '
            f'fill="{band.colour}">{escape(band.name)}</text>'
        )
    for limit in marks.limits:
        x, _ = place(np.array([limit, 0.0]))
        if 0 <= x <= WIDTH:
            ends = f'x1="{x:.1f}" x2="{x:.1f}" y1="{LABEL_HEIGHT:g}" y2="{height:.1f}"'
            parts.append(f'<line {ends} stroke="#475569" stroke-width="1" stroke-dasharray="5 4"/>')
    return "".join(parts)


def _outline_mix(symbol: str) -> float:
    """Share of black in an atom's outline, as a negative mix."""
    return -0.75 if _is_pale(symbol) else -0.45


def _gradient_id(symbol: str) -> str:
    return symbol if symbol.isalnum() and symbol.isascii() else "x"


def _gradient_svg(name: str, symbol: str) -> str:
    light, plain, dark = (hex_colour(symbol, mix) for mix in (0.65, 0.0, -0.22))
    return (
        f'<radialGradient id="{name}-{_gradient_id(symbol)}" cx="0.35" cy="0.32" r="0.75"><stop offset="0" stop-color="{light}"/>'
        f'<stop offset="0.45" stop-color="{plain}"/><stop offset="1" stop-color="{dark}"/></radialGradient>'
    )


def _line_svg(a: tuple[float, float], b: tuple[float, float], colour: str, width: float) -> str:
    ends = f'x1="{a[0]:.1f}" y1="{a[1]:.1f}" x2="{b[0]:.1f}" y2="{b[1]:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width:.1f}" stroke-linecap="round"/>'


def _edge_shapes(
    edges: FloatArray, atoms: FloatArray, radii: FloatArray, place: Any
) -> list[tuple[float, str]]:
    """Pieces of the cell's edges outside of atoms."""
    shapes = []
    for start, end in edges:
        for step in range(EDGE_SEGMENTS):
            a, b = (start + (end - start) * k / EDGE_SEGMENTS for k in (step, step + 1))
            middle = (a + b) / 2
            if (np.linalg.norm(atoms - middle, axis=1) >= radii).all():
                shapes.append((float(middle[2]), _line_svg(place(a), place(b), "#94a3b8", 1.1)))
    return shapes


def _bond_shapes(
    drawn: Scene, atoms: FloatArray, radii: FloatArray, scale: float, place: Any
) -> list[tuple[float, str]]:
    """Halves of bonds in the colours of their atoms."""
    shapes = []
    width = max(1.4, 0.13 * scale)
    for first, second in drawn.bonds:
        middle = (atoms[first] + atoms[second]) / 2
        for end in (first, second):
            towards = middle - atoms[end]
            start = atoms[end] + 0.95 * radii[end] * towards / np.linalg.norm(towards)
            depth = float((start[2] + middle[2]) / 2)
            shapes.append(
                (depth, _line_svg(place(start), place(middle), hex_colour(drawn.symbols[end], -0.12), width))
            )
    return shapes


def element_legend(drawn: Scene) -> list[tuple[str, str]]:
    """(element, colour) of the `drawn` atoms, by atomic number."""
    return [(symbol, hex_colour(symbol)) for symbol in sorted(set(drawn.symbols), key=_atomic_number)]


# The picture that turns.


def scene_figure(drawn: Scene) -> Figure:
    """Figure of the `drawn` scene in three dimensions for Plotly.

    Markers have a size on the screen, not in the crystal; the page turns those with a `meta.radius` (Å) into balls.
    """
    traces = [_line_trace_3d(drawn.edges, "#64748b", 3)]
    if len(drawn.bonds):
        traces.append(_line_trace_3d(drawn.positions[drawn.bonds], "#9ca3af", 5))
    symbols = np.array(drawn.symbols)
    for symbol in dict.fromkeys(drawn.symbols):
        chosen = drawn.positions[symbols == symbol]
        traces.append(
            {
                "type": "scatter3d",
                "mode": "markers",
                "name": escape(symbol),
                "x": round_for_json(chosen[:, 0]),
                "y": round_for_json(chosen[:, 1]),
                "z": round_for_json(chosen[:, 2]),
                "hoverinfo": "name",
                "marker": {"size": 14, "color": hex_colour(symbol), "opacity": 1},
                "meta": {"radius": round(ball_radius(symbol), 3)},
            }
        )
    traces += _halo_traces(drawn)
    view = drawn.view
    camera = {
        "eye": dict(zip("xyz", round_for_json(3 * view[2]), strict=True)),
        "up": dict(zip("xyz", round_for_json(view[1]), strict=True)),
        "projection": {"type": "orthographic"},
    }
    points = np.concatenate([drawn.positions, drawn.edges.reshape(-1, 3)])
    low, high = points.min(axis=0) - 1.0, points.max(axis=0) + 1.0
    # In an orthographic view the aspect ratio alone sets the size on the screen; equal lengths stay equal.
    ratio = ZOOM * (high - low) / np.linalg.norm(high - low)
    ranges = zip("xyz", low.tolist(), high.tolist(), strict=True)
    scene3d = {
        **{f"{axis}axis": {"visible": False, "range": [start, end]} for axis, start, end in ranges},
        "aspectmode": "manual",
        "aspectratio": dict(zip("xyz", round_for_json(ratio), strict=True)),
        "camera": camera,
    }
    layout = {
        "scene": scene3d,
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
        "showlegend": False,
        "paper_bgcolor": "rgba(0,0,0,0)",
    }
    return {"data": traces, "layout": layout}


def _halo_traces(drawn: Scene) -> list[Figure]:
    """Translucent balls around ringed atoms and at vacancies."""
    if drawn.marks is None:
        return []
    groups: dict[float, list[FloatArray]] = {HOLE_RADIUS: list(drawn.marks.holes)}
    for symbol, position, ring in zip(drawn.symbols, drawn.positions, drawn.marks.rings, strict=True):
        if ring:
            groups.setdefault(round(HALO * ball_radius(symbol), 3), []).append(position)
    return [
        {
            "type": "scatter3d",
            "mode": "markers",
            "name": "vacancy" if radius == HOLE_RADIUS else "not the perfect crystal's element",
            **{axis: round_for_json(np.array(places)[:, k]) for k, axis in enumerate("xyz")},
            "hoverinfo": "name",
            "marker": {"size": 18, "color": RING_COLOUR, "opacity": 0.25},
            "meta": {"radius": radius},
        }
        for radius, places in groups.items()
        if places
    ]


def _line_trace_3d(lines: FloatArray, colour: str, width: float) -> Figure:
    broken = np.concatenate([lines, np.full((len(lines), 1, 3), np.nan)], axis=1).reshape(-1, 3)
    return {
        "type": "scatter3d",
        "mode": "lines",
        "x": round_for_json(broken[:, 0]),
        "y": round_for_json(broken[:, 1]),
        "z": round_for_json(broken[:, 2]),
        "line": {"color": colour, "width": width},
        "hoverinfo": "skip",
    }
