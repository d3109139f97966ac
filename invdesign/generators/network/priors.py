"""Distributions of codes: normal, a mixture of normal distributions, and a Wasserstein GAN."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from invdesign.arrays import FloatArray, IntArray
from invdesign.rng import Rng, derived_seed
from invdesign.settings import Frozen

PARTS = 48  # normal distributions of the mixture (chosen)
ROUNDS = 40  # of expectation and maximisation (chosen)
FLOOR = 0.05  # least variance of a code's number, of that of all codes (chosen)
FAMILIES = ("oxide", "halide", "chalcogenide", "pnictide", "other", "intermetallic")
STABLE = 0.025  # eV/atom above the hull, up to which a crystal counts as stable for the GAN (chosen)
_ANIONS = (
    ("oxide", {"O"}),
    ("halide", {"F", "Cl", "Br", "I"}),
    ("chalcogenide", {"S", "Se", "Te"}),
    ("pnictide", {"N", "P", "As"}),
    ("other", {"H", "B", "C", "Si", "Ge"}),
)


def find_family(symbols: Sequence[str]) -> int:
    """Number of a composition's family: that of its most electronegative group of elements."""
    held = set(symbols)
    return next(
        (FAMILIES.index(name) for name, members in _ANIONS if held & members), FAMILIES.index("intermetallic")
    )


@dataclass(frozen=True, eq=False)
class Mixture:
    """Mixture of normal distributions with full covariances.

    Attributes:
        weights: shape (m,).
        means: shape (m, l).
        factors: lower triangular Cholesky factors, shape (m, l, l).
    """

    weights: FloatArray
    means: FloatArray
    factors: FloatArray

    def draw(self, n: int, rng: Rng) -> FloatArray:
        """Draw codes, shape (n, l)."""
        parts = rng.choice(len(self.weights), size=n, p=self.weights / self.weights.sum())
        noise = rng.normal(size=(n, self.means.shape[1]))
        drawn: FloatArray = self.means[parts] + np.einsum("nij,nj->ni", self.factors[parts], noise)
        return drawn

    def measure(self, codes: FloatArray) -> FloatArray:
        """Log densities of the parts, weighted, shape (n, m)."""
        found = np.empty((len(codes), len(self.weights)))
        for part, (mean, factor) in enumerate(zip(self.means, self.factors, strict=True)):
            apart = np.linalg.solve(factor, (codes - mean).T)
            found[:, part] = (
                np.log(self.weights[part])
                - 0.5 * (apart**2).sum(axis=0)
                - np.log(np.diag(factor)).sum()
                - 0.5 * codes.shape[1] * np.log(2.0 * np.pi)
            )
        return found


def fit_mixture(means: FloatArray, spreads: FloatArray, rng: Rng, parts: int = PARTS) -> Mixture:
    """Fit a mixture to normal distributions of codes, by expectation and maximisation.

    Args:
        means: of the codes of crystals, shape (n, l).
        spreads: their log variances, shape (n, l).
        rng: for the start.
        parts: number of normal distributions; fewer for few crystals.
    """
    parts = max(1, min(parts, len(means) // (2 * means.shape[1])))
    codes = means + rng.normal(size=means.shape) * np.exp(0.5 * spreads)
    floor = FLOOR * np.diag(codes.var(axis=0) + 1e-6)
    nearest = _split(codes, parts, rng)
    shares = np.eye(parts)[nearest]
    mixture = _maximise(codes, shares, floor)
    for _ in range(ROUNDS):
        logs = mixture.measure(codes)
        shares = np.exp(logs - logs.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        mixture = _maximise(codes, shares, floor)
    return mixture


def _split(codes: FloatArray, parts: int, rng: Rng) -> IntArray:
    """Assign codes to the nearest of some that are drawn far apart, shape (n,).

    Source:
        k-means++: Arthur & Vassilvitskii, SODA (2007).
    """
    centres = [codes[int(rng.integers(len(codes)))]]
    apart = ((codes - centres[0]) ** 2).sum(axis=1)
    for _ in range(1, parts):
        centres.append(codes[int(rng.choice(len(codes), p=apart / apart.sum()))])
        apart = np.minimum(apart, ((codes - centres[-1]) ** 2).sum(axis=1))
    distances = np.array([((codes - centre) ** 2).sum(axis=1) for centre in centres])
    nearest: IntArray = distances.argmin(axis=0)
    return nearest


def _maximise(codes: FloatArray, shares: FloatArray, floor: FloatArray) -> Mixture:
    """Best mixture for given shares of codes in its parts (n, m)."""
    sizes = shares.sum(axis=0) + 1e-3
    means = (shares.T @ codes) / sizes[:, None]
    factors = []
    for part, mean in enumerate(means):
        apart = codes - mean
        covariance = (apart * shares[:, part : part + 1]).T @ apart / sizes[part]
        factors.append(np.linalg.cholesky(covariance + floor))
    return Mixture(sizes / sizes.sum(), means, np.array(factors))


class GanSizes(Frozen):
    """Settings of the Wasserstein GAN on codes."""

    latent: int = 32
    """Numbers of a code."""
    noise: int = 32
    """Numbers that are drawn."""
    hidden: int = 128
    """Numbers of a hidden layer."""
    steps: int = 3000
    """Steps of the generator."""
    critic: int = 4
    """Steps of the critic per step of the generator."""
    batch: int = 256
    penalty: float = 10.0
    """Weight of the gradient penalty."""
    rate: float = 5e-4


class CodeGan(nn.Module):
    """Generator of codes given a family of compositions and whether the crystal is stable, with its critic.

    Source:
        Wasserstein GAN with gradient penalty: Gulrajani et al., NeurIPS (2017), arXiv:1704.00028.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, sizes: GanSizes) -> None:
        super().__init__()
        self.sizes = sizes
        labels = len(FAMILIES) + 1
        self.register_buffer("mean", torch.zeros(sizes.latent))
        self.register_buffer("spread", torch.ones(sizes.latent))
        self.generator = _layers(sizes.noise + labels, sizes.hidden, sizes.latent)
        self.critic = _layers(sizes.latent + labels, sizes.hidden, 1)

    def make(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Codes (n, l) in units of their deviations."""
        return torch.as_tensor(self.generator(torch.cat([noise, labels], dim=1)))

    def judge(self, codes: Tensor, labels: Tensor) -> Tensor:
        """Scores of codes, shape (n,)."""
        return torch.as_tensor(self.critic(torch.cat([codes, labels], dim=1))).squeeze(1)

    @torch.no_grad()
    def draw(self, labels: Tensor, rng: Rng) -> FloatArray:
        """Draw codes for labels (n, families + 1), shape (n, l)."""
        noise = torch.from_numpy(rng.normal(size=(len(labels), self.sizes.noise))).float()
        codes: FloatArray = (self.make(noise, labels) * self.spread + self.mean).numpy().astype(np.float64)
        return codes


def _layers(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.LeakyReLU(0.2),
        nn.Linear(hidden, hidden),
        nn.LeakyReLU(0.2),
        nn.Linear(hidden, outputs),
    )


def make_labels(families: IntArray, stable: FloatArray) -> Tensor:
    """Labels of crystals for the GAN, shape (n, families + 1)."""
    table = np.concatenate([np.eye(len(FAMILIES))[families], np.asarray(stable)[:, None]], axis=1)
    return torch.from_numpy(table).float()


def train_gan(codes: FloatArray, spreads: FloatArray, labels: Tensor, sizes: GanSizes, seed: int) -> CodeGan:
    """Train a GAN on codes.

    Args:
        codes: means of the codes of crystals, shape (n, l).
        spreads: their log variances, shape (n, l).
        labels: of the crystals, shape (n, families + 1).
        sizes: of the networks and of training.
        seed: of weights and noise.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "gan") % 2**63)
        return _train_gan(CodeGan(sizes), codes, spreads, labels)


def _train_gan(network: CodeGan, codes: FloatArray, spreads: FloatArray, labels: Tensor) -> CodeGan:
    """Train a GAN with the global generator, which is seeded."""
    sizes = network.sizes
    deviation = torch.from_numpy(np.exp(0.5 * spreads)).float()
    real = torch.from_numpy(codes).float()
    network.mean.copy_(real.mean(0))
    network.spread.copy_((real.var(0) + (deviation**2).mean(0)).sqrt())
    makers = torch.optim.Adam(network.generator.parameters(), lr=sizes.rate, betas=(0.0, 0.9))
    judges = torch.optim.Adam(network.critic.parameters(), lr=sizes.rate, betas=(0.0, 0.9))
    kept = {name: value.clone() for name, value in network.generator.state_dict().items()}
    for step in range(sizes.steps):
        for _ in range(sizes.critic):
            rows = torch.randint(len(real), (sizes.batch,))
            drawn = real[rows] + deviation[rows] * torch.randn(sizes.batch, sizes.latent)
            loss = _judge_batch(network, (drawn - network.mean) / network.spread, labels[rows])
            judges.zero_grad()
            torch.autograd.backward(loss)
            judges.step()
        rows = torch.randint(len(real), (sizes.batch,))
        noise = torch.randn(sizes.batch, sizes.noise)
        loss = -network.judge(network.make(noise, labels[rows]), labels[rows]).mean()
        makers.zero_grad()
        torch.autograd.backward(loss)
        makers.step()
        keep = min(0.995, step / (step + 10.0))
        for name, value in network.generator.state_dict().items():
            kept[name].lerp_(value, 1.0 - keep)
    network.generator.load_state_dict(kept)
    return network.train(mode=False)


def _judge_batch(network: CodeGan, drawn: Tensor, labels: Tensor) -> Tensor:
    """Loss of the critic with the gradient penalty."""
    with torch.no_grad():
        made = network.make(torch.randn(len(drawn), network.sizes.noise), labels)
    share = torch.rand(len(drawn), 1)
    between = (share * drawn + (1.0 - share) * made).requires_grad_()
    (slope,) = torch.autograd.grad(network.judge(between, labels).sum(), between, create_graph=True)
    penalty = ((slope.norm(dim=1) - 1.0) ** 2).mean()
    gap = network.judge(made, labels).mean() - network.judge(drawn, labels).mean()
    return torch.add(gap, network.sizes.penalty * penalty)
