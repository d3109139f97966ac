"""A trained model as one value, and as tensors with a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from invdesign.errors import ArtifactError
from invdesign.generators.models import NETWORK_KIND, NETWORK_VERSION
from invdesign.generators.network.chemistry import list_elements
from invdesign.generators.network.layers import Sizes
from invdesign.generators.network.model import CrystalNetwork
from invdesign.generators.network.priors import CodeGan, GanSizes, Mixture
from invdesign.generators.network.refine import Refiner, RefinerSizes

Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Target:
    """A property that is predicted from codes.

    Attributes:
        name: of the property.
        mean, spread: of the training data; the network predicts in units of `spread`.
        error: mean absolute error on crystals that were held out, NaN where none were.
    """

    name: str
    mean: float
    spread: float
    error: float


@dataclass(frozen=True, eq=False)
class CrystalModel:
    """A trained generator.

    Attributes:
        network: encoder and decoders.
        refiner: of geometries; None where none was trained.
        mixture: distribution of the codes of the training data.
        gan: generator of codes; None where none was trained.
        volumes: fitted volumes of atoms by element, Å³; its keys are the elements that the model knows.
        patterns: reduced formulas without their elements, in the order of placement.
        targets: properties predicted from codes.
    """

    network: CrystalNetwork
    refiner: Refiner | None
    mixture: Mixture
    gan: CodeGan | None
    volumes: Mapping[str, float]
    patterns: frozenset[tuple[int, ...]]
    targets: tuple[Target, ...]

    @property
    def known(self) -> tuple[str, ...]:
        """Elements of the training data, in the order of placement."""
        return tuple(name for name in list_elements() if name in self.volumes)


def pack_model(model: CrystalModel) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Tensors in half precision, and the configuration to build them from."""
    tensors = _pack_module("network", model.network)
    if model.refiner is not None:
        tensors |= _pack_module("refiner", model.refiner)
    if model.gan is not None:
        tensors |= _pack_module("gan", model.gan)
    tensors["mixture.weights"] = model.mixture.weights.astype(np.float32)
    tensors["mixture.means"] = model.mixture.means.astype(np.float32)
    tensors["mixture.factors"] = model.mixture.factors.astype(np.float32)
    longest = max(len(pattern) for pattern in model.patterns)
    rows = sorted(model.patterns)
    tensors["patterns"] = np.array([[*row, *([0] * (longest - len(row)))] for row in rows], dtype=np.int16)
    config = {
        "kind": NETWORK_KIND,
        "version": NETWORK_VERSION,
        "network": model.network.sizes.model_dump(mode="json"),
        "refiner": None if model.refiner is None else model.refiner.sizes.model_dump(mode="json"),
        "gan": None if model.gan is None else model.gan.sizes.model_dump(mode="json"),
        "volumes": {name: round(volume, 4) for name, volume in model.volumes.items()},
        "targets": [
            {
                "name": target.name,
                "mean": target.mean,
                "spread": target.spread,
                "error": None if np.isnan(target.error) else target.error,
            }
            for target in model.targets
        ],
    }
    return tensors, config


def _pack_module(prefix: str, module: nn.Module) -> dict[str, NDArray[Any]]:
    """Weights of a module in half precision."""
    return {
        f"{prefix}.{name}": value.detach().numpy().astype(np.float16)
        for name, value in module.state_dict().items()
    }


def unpack_model(tensors: Tensors, config: Mapping[str, Any]) -> CrystalModel:
    """Build a model from its tensors and configuration.

    Raises:
        ArtifactError: they do not belong together.
    """
    try:
        network = CrystalNetwork(_read_sizes(Sizes, config["network"]))
        refiner = None if config["refiner"] is None else Refiner(_read_sizes(RefinerSizes, config["refiner"]))
        gan = None if config["gan"] is None else CodeGan(_read_sizes(GanSizes, config["gan"]))
        for prefix, module in (("network", network), ("refiner", refiner), ("gan", gan)):
            if module is not None:
                _load_module(prefix, module, tensors)
        targets = tuple(
            Target(
                str(one["name"]),
                float(one["mean"]),
                float(one["spread"]),
                float("nan") if one["error"] is None else float(one["error"]),
            )
            for one in config["targets"]
        )
        mixture = Mixture(
            *(tensors[f"mixture.{name}"].astype(np.float64) for name in ("weights", "means", "factors"))
        )
        patterns = frozenset(tuple(int(count) for count in row if count) for row in tensors["patterns"])
        volumes = {str(name): float(volume) for name, volume in config["volumes"].items()}
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ArtifactError(
            f"the weights and the configuration of the model do not belong together: {error!s:.200}; train it again"
        ) from error
    return CrystalModel(network, refiner, mixture, gan, volumes, patterns, targets)


def _read_sizes(kind: type[Any], value: Any) -> Any:
    """Settings from JSON, in which a tuple is a list."""
    return kind.model_validate({k: tuple(v) if isinstance(v, list) else v for k, v in dict(value).items()})


def _load_module(prefix: str, module: nn.Module, tensors: Tensors) -> None:
    """Fill a module with its weights, all of them and no others."""
    own = {
        name.removeprefix(f"{prefix}."): torch.from_numpy(value.astype(np.float32))
        for name, value in tensors.items()
        if name.startswith(f"{prefix}.")
    }
    module.load_state_dict(own)
    module.train(mode=False)
