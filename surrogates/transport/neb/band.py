"""Minimum-energy path between two minima, and its saddle: a climbing band with shared second derivatives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from invdesign.arrays import FloatArray

Forces = tuple[FloatArray, FloatArray]
Compute = Callable[[FloatArray], Forces]
"""Energies (k,) and forces (k, n, 3) of arrangements (k, n, 3), in eV and Å."""
Mirror = Callable[[FloatArray], FloatArray]
"""Moves an arrangement (n, 3) by the symmetry that reverses the path: image k becomes image -k."""

FIRST_CURVATURE = 8.0  # eV/Å^2, the first guess of every second derivative
SOFTEST, STIFFEST = 2.0, 120.0  # eV/Å^2, bounds of the curvature that is guessed from a move; chosen
POWELL_DAMPING = (
    0.2  # least curvature believed along a move, as a fraction of the expected one; Powell (1978)
)
LONGEST_MOVE = 0.2  # Å, of an atom in one move of an image; chosen, as in relaxations
SHORTEST_MOVE = 0.02  # Å, below which the limit of moves never falls; chosen
CLIMB_FORCE = 0.5  # eV/Å left across the path, below which the highest image climbs; chosen
ENERGY_LEFT = 2e-3  # eV, above which the saddle is moved on; chosen: a fifth of what barriers may differ by
UNEVEN_SPACING = 1.5  # ratio of the longest to the mean gap from which images move along the path; chosen
MEMORY = 400  # moves of all images whose curvature is remembered; chosen: soft frameworks need some 30 rounds of them
FLAT_SLOPE = 1e-6  # eV/Å along the path, below which the climbing image stands at the maximum
COLLAPSED_GAP = 0.05  # shortest gap over the mean one below which two images are one; chosen


class CollapseError(Exception):
    """Two images of a band became one."""


@dataclass(frozen=True, slots=True)
class Band:
    """A path through the energy landscape.

    Attributes:
        path: shape (m + 2, n, 3), Å, both ends included.
        energies: shape (m + 2,), eV.
        residual: largest force left on an atom, eV/Å: across the path, and for the climbing image along it too.
        moves: rounds in which images were moved.
        calls: arrangements computed, the ends not counted.
        converged: True if `residual` came below the limit.
        abandoned: True if the path was left because it is too high.
    """

    path: FloatArray
    energies: FloatArray
    residual: float
    moves: int
    calls: int
    converged: bool
    abandoned: bool

    @property
    def highest(self) -> int:
        """Number of the highest arrangement, ends included."""
        return int(np.argmax(self.energies))


def relax_band(
    path: FloatArray,
    ends: tuple[float, float],
    compute: Compute,
    *,
    fmax: float = 0.05,
    steps: int = 100,
    mirror: Mirror | None = None,
    hopeless: float = np.inf,
) -> Band:
    """Move a path to the minimum-energy path, its highest image to the saddle.

    All images are computed in one call. Each is moved across the path by a quasi-Newton step whose second
    derivatives are learned from the moves of all images together, since these differ little along a path; an image
    that is below the limit is neither moved nor computed, until a tangent that turned lifts it above. The highest
    image climbs to the maximum of the energy along the path, interpolated from energies and slopes.

    Args:
        path: shape (m + 2, n, 3), Å: two minima and the first guess of the images between them.
        ends: energies of the two minima, eV.
        compute: energies and forces of images.
        fmax: largest force left on an atom, eV/Å; as in ASE's `NEB`, without the springs.
        steps: most rounds of moves.
        mirror: symmetry that reverses the path; then only the first half of the images is computed. Ignored for
            an even number of images, which has none in the middle to climb.
        hopeless: energy in eV above which a path that is nearly relaxed is left as it is.

    Raises:
        CollapseError: two images became one.

    Source:
        Climbing image: Henkelman, Uberuaga and Jónsson, J. Chem. Phys. 113, 9901 (2000). Improved tangents:
        Henkelman and Jónsson, J. Chem. Phys. 113, 9978 (2000). Steps: limited-memory BFGS, Nocedal and Wright,
        Numerical Optimization, 2nd ed., algorithm 7.4, constrained to the space across the path.
    """
    band = _Moving(path.copy(), np.array([ends[0], *[0.0] * (len(path) - 2), ends[1]]), compute, mirror)
    band.compute_images(band.own)
    done = 0
    while True:
        band.project_forces()
        left = band.residuals()
        # Climbing begins when the path is near: before, the highest image is not where the saddle is.
        if not band.climbing and left.max() < CLIMB_FORCE:
            band.climbing = True
            band.project_forces()
            left = band.residuals()
        # In soft crystals small forces add up: the saddle is moved on until its energy hardly falls any more.
        falling = {k for k in band.climbers if k in band.own and band.energy_left(k) > ENERGY_LEFT}
        crowded = band.crowded_images()
        converged = bool(left.max() <= fmax) and band.climbing and not falling and not crowded
        abandoned = band.climbing and not converged and bool(band.energies.max() > hopeless)
        if converged or abandoned or done == steps:
            break
        done += 1
        band.move_images([k for k in band.own if left[k - 1] > fmax or k in falling or k in crowded])
    return Band(band.path, band.energies, float(left.max()), done, band.calls, converged, abandoned)


@dataclass(slots=True)
class _Moving:
    """State of a band on its way.

    Attributes:
        path: shape (m + 2, n, 3).
        energies: shape (m + 2,).
        climbing: True once the highest image climbs.
        calls: arrangements computed.
        gradient: shape (m + 2, n, 3), zero at the ends.
        tangent: shape (m + 2, n, 3), of length 1; zero at the ends.
        slope: shape (m + 2,), of the energy along the tangent.
        limits: shape (m + 2,), longest move of an atom of each image, Å.
        pairs: (image, move, change of the gradient), oldest first.
        climbs: slope before the last climb of an image, and its distance along the path, Å.
    """

    path: FloatArray
    energies: FloatArray
    compute: Compute
    mirror: Mirror | None
    climbing: bool = False
    calls: int = 0
    gradient: FloatArray = field(init=False)
    tangent: FloatArray = field(init=False)
    slope: FloatArray = field(init=False)
    limits: FloatArray = field(init=False)
    pairs: list[tuple[int, FloatArray, FloatArray]] = field(default_factory=list)
    climbs: dict[int, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.path) % 2 == 0:
            self.mirror = None
        self.gradient = np.zeros_like(self.path)
        self.tangent = np.zeros_like(self.path)
        self.slope = np.zeros(len(self.path))
        self.limits = np.full(len(self.path), LONGEST_MOVE)
        if self.mirror is not None:
            middle = len(self.path) // 2
            self.path[middle] = (self.path[middle] + self.mirror(self.path[middle])) / 2
            self._mirror_images()

    @property
    def own(self) -> list[int]:
        """Numbers of the images that are computed."""
        inner = len(self.path) - 2
        return list(range(1, 1 + (inner if self.mirror is None else (inner + 1) // 2)))

    def compute_images(self, numbers: Sequence[int]) -> None:
        """Compute energies and gradients of some images, and copy them to their mirror images.

        Args:
            numbers: of the images.
        """
        energies, forces = self.compute(self.path[list(numbers)])
        self.calls += len(numbers)
        for k, energy, force in zip(numbers, energies, forces, strict=True):
            self.energies[k], self.gradient[k] = energy, -force
        if self.mirror is not None:
            for k in numbers:
                self.energies[-1 - k] = self.energies[k]
                self.gradient[-1 - k] = self._turn(self.gradient[k])

    def _turn(self, vectors: FloatArray) -> FloatArray:
        """Turn the vectors of all atoms (n, 3) as the mirror symmetry does."""
        mirror = self.mirror
        return vectors if mirror is None else mirror(vectors) - mirror(np.zeros_like(vectors))

    def _mirror_images(self) -> None:
        mirror = self.mirror
        if mirror is not None:
            for k in self.own:
                self.path[-1 - k] = mirror(self.path[k])

    def project_forces(self) -> None:
        """Renew tangents and slopes."""
        for k in range(1, len(self.path) - 1):
            ahead, behind = self.path[k + 1] - self.path[k], self.path[k] - self.path[k - 1]
            up, down = self.energies[k + 1] - self.energies[k], self.energies[k - 1] - self.energies[k]
            if up > 0 > down:
                tangent = ahead
            elif down > 0 > up:
                tangent = behind
            else:
                more, less = max(abs(up), abs(down)), min(abs(up), abs(down))
                weights = (more, less) if up > down else (less, more)
                tangent = weights[0] * ahead + weights[1] * behind
                if not tangent.any():
                    tangent = ahead + behind
            self.tangent[k] = tangent / np.linalg.norm(tangent)
            self.slope[k] = float((self.gradient[k] * self.tangent[k]).sum())

    @property
    def climbers(self) -> tuple[int, ...]:
        """Numbers of the climbing image and its mirror image; none where the path only rises or falls."""
        highest = int(np.argmax(self.energies))
        if not self.climbing or highest in {0, len(self.path) - 1}:
            return ()
        return (highest,) if self.mirror is None else (highest, len(self.path) - 1 - highest)

    def gradient_across(self, k: int) -> FloatArray:
        """Gradient of image `k` across the path, shape (n, 3)."""
        found: FloatArray = self.gradient[k] - self.slope[k] * self.tangent[k]
        return found

    def energy_left(self, k: int) -> float:
        """Energy by which image `k` is expected to fall when it is moved across the path, eV."""
        gradient = self.gradient_across(k).ravel()
        return 0.5 * float(gradient @ _InverseHessian.from_pairs(self.pairs, k).apply(gradient))

    def residuals(self) -> FloatArray:
        """Largest force left on an atom of each image, shape (m,), eV/Å."""
        climbers = self.climbers
        left = []
        for k in range(1, len(self.path) - 1):
            force = self.gradient_across(k)
            if k in climbers:
                force = force - self.slope[k] * self.tangent[k]
            left.append(float(np.linalg.norm(force, axis=1).max()))
        return np.array(left)

    def move_images(self, numbers: Sequence[int]) -> None:
        """Move some images by a quasi-Newton step, compute them, and learn from the change.

        Args:
            numbers: of the images.
        """
        shifts = self._even_shifts()
        before = {}
        for k in numbers:
            move = self._newton_step(k) + shifts[k] * self.tangent[k]
            if self.mirror is not None and 2 * k == len(self.path) - 1:
                move = (
                    move + self._turn(move)
                ) / 2  # the middle image is its own mirror image, to the last digit
            longest = float(np.linalg.norm(move, axis=1).max())
            move *= min(1.0, self.limits[k] / longest) if longest > 0 else 1.0
            before[k] = (
                self.path[k].copy(),
                self.gradient[k].copy(),
                np.linalg.norm(self.gradient_across(k)),
            )
            self.path[k] += move
        self._mirror_images()
        self._refuse_collapse()
        self.compute_images(numbers)
        for k, (place, gradient, size) in before.items():
            self.pairs.append((k, (self.path[k] - place).ravel(), (self.gradient[k] - gradient).ravel()))
            grown = np.linalg.norm(self.gradient_across(k)) > 1.5 * size
            self.limits[k] = np.clip(self.limits[k] * (0.5 if grown else 1.3), SHORTEST_MOVE, LONGEST_MOVE)
        del self.pairs[:-MEMORY]

    def _newton_step(self, k: int) -> FloatArray:
        """Step of an image across the path, shape (n, 3), with the climber's step along it."""
        shape = self.path[k].shape
        tangent = self.tangent[k].ravel()
        inverse = _InverseHessian.from_pairs(self.pairs, k)
        down, turned = inverse.apply(self.gradient_across(k).ravel()), inverse.apply(tangent)
        # The smallest quadratic energy among moves across the path: a multiplier takes out the part along it.
        step = -down + (tangent @ down) / max(float(tangent @ turned), 1e-12) * turned
        if k in self.climbers:
            distance = self._climb(k)
            self.climbs[k] = (float(self.slope[k]), distance)
            step = step + distance * tangent
        step_of_atoms: FloatArray = step.reshape(shape)
        return step_of_atoms

    def _climb(self, k: int) -> float:
        """Distance along the path to the maximum of the interpolated energy, Å."""
        if abs(self.slope[k]) < FLAT_SLOPE:
            return 0.0
        before = self.climbs.get(k)
        if before is not None and before[1] and before[0] * self.slope[k] < 0:
            # The last move passed the maximum: it lies between, where the slope is zero.
            return float(before[1] * self.slope[k] / (before[0] - self.slope[k]))
        side = 1 if self.slope[k] > 0 else -1
        gap = float(np.linalg.norm(self.path[k + side] - self.path[k]))
        inner = 0 < k + side < len(self.path) - 1
        # Both slopes seen from the climber towards its neighbour; the ends are minima.
        here = side * self.slope[k] * gap
        there = side * self.slope[k + side] * gap if inner else 0.0
        rise = self.energies[k + side] - self.energies[k]
        # e(t) = here t + b t^2 + c t^3, by energies and slopes at t = 0 and 1
        b, c = 3 * rise - 2 * here - there, here + there - 2 * rise
        share = _first_maximum(here, b, c)
        return side * min(share, 0.5) * gap

    def _parts(self) -> Iterator[tuple[slice, FloatArray]]:
        """Images between two that stay where they are along the path, with the gaps there, Å."""
        gaps = np.linalg.norm(np.diff(self.path, axis=0), axis=(1, 2))
        for low, high in pairwise([0, *sorted(set(self.climbers)), len(self.path) - 1]):
            yield slice(low, high + 1), gaps[low:high]

    def _even_shifts(self) -> FloatArray:
        """Moves along the path that make gaps equal, shape (m + 2,), Å.

        Without them images slide down the path: a tangent is never quite that of the path.
        """
        shifts = np.zeros(len(self.path))
        for part, gaps in self._parts():
            place = np.concatenate([[0.0], np.cumsum(gaps)])
            shifts[part] = np.linspace(0.0, place[-1], len(place)) - place
        return shifts

    def crowded_images(self) -> set[int]:
        """Images that are computed and stand where gaps are uneven."""
        found: set[int] = set()
        for part, gaps in self._parts():
            if len(gaps) > 1 and gaps.max() > UNEVEN_SPACING * gaps.mean():
                found.update(range(part.start + 1, part.stop - 1))
        return found & set(self.own)

    def _refuse_collapse(self) -> None:
        gaps = np.linalg.norm(np.diff(self.path, axis=0), axis=(1, 2))
        if gaps.min() < COLLAPSED_GAP * gaps.mean():
            k = int(np.argmin(gaps))
            raise CollapseError(
                f"images {k} and {k + 1} of the band became one: {gaps[k]:.2g} Å apart, {gaps.mean():.2g} on average"
            )


def _first_maximum(slope: float, b: float, c: float) -> float:
    """First t > 0 with a maximum of slope t + b t^2 + c t^3, for a positive slope; 0.5 where it only rises."""
    roots = np.roots([3 * c, 2 * b, slope]) if abs(c) > 1e-12 else np.roots([2 * b, slope])
    real = [float(t.real) for t in roots if abs(t.imag) < 1e-9 and t.real > 0 and 2 * b + 6 * c * t.real < 0]
    return min(real, default=0.5)


@dataclass(frozen=True, slots=True)
class _InverseHessian:
    """Inverse second derivatives as a list of moves and changes of the gradient, by limited-memory BFGS."""

    scale: float
    pairs: list[tuple[FloatArray, FloatArray, float]]

    @classmethod
    def from_pairs(cls, pairs: Sequence[tuple[int, FloatArray, FloatArray]], k: int) -> _InverseHessian:
        """Order the pairs so that those of image `k` and the latest count most."""
        order = sorted(range(len(pairs)), key=lambda i: (-abs(pairs[i][0] - k), i))
        scale = 1 / FIRST_CURVATURE
        if order:
            # The stiffness along the latest move: a guess that is too soft would shake stiff bonds at each step.
            _, move, change = pairs[order[-1]]
            seen = float(move @ change)
            if seen > 0:
                scale = float(np.clip(seen / (change @ change), 1 / STIFFEST, 1 / SOFTEST))
        kept = []
        for i in order:
            _, move, change = pairs[i]
            seen, size = float(move @ change), float(move @ move)
            least = POWELL_DAMPING * SOFTEST * size
            if seen < least:  # Powell's damping, with the softest curvature as the expected one
                share = (1 - POWELL_DAMPING) * SOFTEST * size / (SOFTEST * size - seen)
                change = share * change + (1 - share) * SOFTEST * move
                seen = float(move @ change)
            if seen > 1e-12:
                kept.append((move, change, 1 / seen))
        return cls(scale, kept)

    def apply(self, vector: FloatArray) -> FloatArray:
        """Multiply a vector, shape (3n,), by the inverse."""
        q = vector.copy()
        shares = []
        for move, change, weight in reversed(self.pairs):
            share = weight * float(move @ q)
            q -= share * change
            shares.append(share)
        q *= self.scale
        for (move, change, weight), share in zip(self.pairs, reversed(shares), strict=True):
            q += move * (share - weight * float(change @ q))
        return q
