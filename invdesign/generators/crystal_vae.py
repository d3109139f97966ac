"""Generator `crystal_vae`: a network that makes crystals of new frameworks on Wyckoff positions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from invdesign.arrays import FloatArray
from invdesign.artifacts import Artifact, of_kind
from invdesign.generators.models import MODELS, NETWORK_KIND, NETWORK_VERSION
from invdesign.protocols import ORIGIN, Condition, GeneratorSettings, Samples, TrainingSet
from invdesign.rng import Rng
from invdesign.threads import one_thread

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from invdesign.generators.network.model_folder import CrystalModel
    from invdesign.generators.network.sampling import Made, Manner, Yield

MINUTES = 17.5  # CPU time of a training on one core (chosen)
WISHED = 8  # codes per crystal asked for, of which those nearest to the wishes are decoded (chosen)


class CrystalVae(GeneratorSettings):
    """Makes crystals of frameworks that are not known, by a variational autoencoder on Wyckoff positions."""

    version: ClassVar[str] = "1"

    model: Annotated[Artifact, MODELS.field, of_kind(NETWORK_KIND, NETWORK_VERSION)] = Field(
        default_factory=lambda: MODELS.read(NETWORK_KIND), validate_default=True
    )
    """Trained model: the word of a shipped one, or a model folder."""
    prior: Literal["normal", "mixture", "gan"] = "mixture"
    """Distribution from which codes are drawn."""
    temperature: Annotated[float, Field(gt=0.0, le=2.0)] = 1.0
    """Variety of compositions and positions: below 1 the more likely ones."""
    geometries: Annotated[int, Field(ge=1, le=64)] = 3
    """Geometries that are drawn per crystal; the best by distances is taken."""
    moves: Annotated[int, Field(ge=0, le=100)] = 8
    """Moves by which geometries are brought nearer to those of known crystals."""
    checked: bool = True
    """Leave out crystals with atoms too close."""

    @classmethod
    def train(
        cls,
        training: TrainingSet,
        folder: Path,
        *,
        minutes: float | None = None,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Train a model on crystals and write its folder; a training that was killed continues there.

        Args:
            training: crystals with any properties.
            folder: of the model.
            minutes: most CPU minutes; `MINUTES` by default.
            report: takes sentences on the progress.
        """
        from invdesign.generators.network.train import train_on_crystals

        train_on_crystals(training, folder, MINUTES if minutes is None else minutes, report)

    @property
    def is_heavy(self) -> bool:
        """Return True: a network runs."""
        return True

    def prepare(self) -> None:
        """Load the weights."""
        self._load()

    def _load(self) -> CrystalModel:
        return _load_model(self.model)

    @property
    def dimension(self) -> int:
        """Number of numbers in a code."""
        return int(self.model.card["network"]["latent"])

    @property
    def known(self) -> tuple[str, ...]:
        """Elements of the training data, sorted."""
        return tuple(sorted(self.model.card["volumes"]))

    @property
    def _manner(self) -> Manner:
        from invdesign.generators.network.sampling import Manner

        shapes = tuple(np.linspace(0.3, 0.9, self.geometries).round(3).tolist())
        return Manner(
            prior=self.prior,
            composition=self.temperature,
            sites=self.temperature,
            shapes=shapes,
            moves=self.moves,
            checked=self.checked,
        )

    def refusal(self, condition: Condition) -> str:
        """Reason why nothing can be made: elements, sizes or properties that the model does not know."""
        from invdesign.generators.network.refusals import find_refusal

        names = tuple(str(target["name"]) for target in self.model.card["targets"])
        return find_refusal(condition, self.known, names, lambda: self._load().patterns)

    def sample(self, rng: Rng, n: int, condition: Condition) -> Samples:
        """Make up to `n` crystals; those of a formula differ in their positions, the likeliest first."""
        from invdesign.generators.network import sampling

        refused = self.refusal(condition)
        if refused:
            return Samples((), refused)
        with one_thread():
            model = self._load()
            if condition.formula:
                found = sampling.sample_formula(model, rng, n, condition, self._manner)
            else:
                codes = self._list_wished(model, rng, condition) if condition.wishes else None
                found = sampling.sample_freely(model, rng, n, condition, self._manner, codes)
        return self._report(found, n)

    def _list_wished(self, model: CrystalModel, rng: Rng, condition: Condition) -> Iterator[FloatArray]:
        """Iterate over batches of codes whose predicted properties come nearest to the wishes."""
        from invdesign.generators.network import sampling
        from invdesign.generators.network.wishes import rate_codes

        while True:
            families = sampling.list_families(condition)
            codes = sampling.draw_codes(model, WISHED * sampling.BATCH, rng, self._manner, families)
            order = np.argsort(rate_codes(model, codes, condition.wishes), kind="stable")
            yield codes[order[: sampling.BATCH]]

    def _report(self, found: Yield, n: int) -> Samples:
        """Samples with their origins, and a reason where there are fewer than asked for."""
        structures = tuple(self._to_structure(made) for made in found.made)
        reason = ""
        if len(structures) < n:
            causes = ", ".join(f"{cause} ({number})" for cause, number in found.refused.most_common(3))
            reason = f"{len(structures)} of {n} crystals were found in {found.tried} that were drawn"
            reason += f"; left out: {causes}" if causes else "; no others are possible on other positions"
        return Samples(structures, reason, found.tried, dict(found.refused))

    def _to_structure(self, made: Made) -> Structure:
        """Structure of a crystal with its origin."""
        from pymatgen.core import Structure

        atoms, names = made.crystal.crystal, made.symbols
        origin: dict[str, object] = {
            "generator": "crystal_vae",
            "model": self.model.sha256[:12],
            "sites": made.crystal.combination.write(names),
            "log_likelihood": round(made.draft.likelihood, 3),
        }
        if made.code is not None:
            origin["code"] = [round(float(number), 5) for number in made.code]
        if not np.isnan(made.left):
            origin["residual_move"] = round(made.left, 4)
        structure = Structure(atoms.cell, [names[kind] for kind in atoms.species], atoms.positions)
        structure.properties[ORIGIN] = origin
        return structure

    def draw_codes(self, rng: Rng, n: int) -> FloatArray:
        """Draw codes from the prior, shape (n, dimension)."""
        from invdesign.generators.network import sampling

        with one_thread():
            families = sampling.list_families(Condition())
            return sampling.draw_codes(self._load(), n, rng, self._manner, families)

    def encode(self, structures: Sequence[Structure]) -> FloatArray:
        """Codes of structures, shape (n, dimension); NaN for those that the model cannot read."""
        from invdesign.generators.network.coding import encode_structures

        with one_thread():
            return encode_structures(self._load(), structures)

    def predict(self, x: FloatArray) -> dict[str, FloatArray]:
        """Predict properties of codes (n, dimension), each of shape (n,) in the unit of the training data.

        The card of the model states the error of each property.
        """
        from invdesign.generators.network.wishes import predict_properties

        with one_thread():
            return predict_properties(self._load(), np.asarray(x, dtype=np.float64))

    def decode(self, x: FloatArray, condition: Condition) -> Sequence[Structure | None]:
        """Crystals at codes (n, dimension): the most likely choices throughout, the best geometry."""
        from invdesign.generators.network.coding import decode_codes

        if self.refusal(condition):
            return [None] * len(x)
        with one_thread():
            made = decode_codes(self._load(), np.asarray(x, dtype=np.float64), condition, self._manner)
        return [None if one is None else self._to_structure(one) for one in made]


class CrystalGan(CrystalVae):
    """Makes crystals by a Wasserstein GAN on the codes of `crystal_vae`."""

    prior: Literal["normal", "mixture", "gan"] = "gan"
    """Distribution from which codes are drawn."""

    def refusal(self, condition: Condition) -> str:
        """Reason why nothing can be made; also where the model holds no GAN."""
        if self.model.card["gan"] is None:
            return (
                f"the model {self.model.name} was trained without a GAN; take crystal_vae, or train it again"
            )
        return super().refusal(condition)


@lru_cache(maxsize=4)
def _load_model(artifact: Artifact) -> CrystalModel:
    """Load the weights of an artifact, once per process."""
    from invdesign.generators.network.model_folder import unpack_model

    return unpack_model(artifact.tensors(), artifact.card)
