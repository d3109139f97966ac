"""Any ASE calculator as a potential: a few by name, others by import path."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cache, cached_property
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import Field, ValidationInfo, field_validator, model_validator

from invdesign.beside import allow_module, import_campaign_object
from invdesign.errors import PluginError, nearest
from invdesign.protocols import Forces, PotentialSettings
from invdesign.settings import validation_context
from surrogates.potentials import PotentialError

if TYPE_CHECKING:
    from ase import Atoms

Scalar = bool | int | float | str | None

# ASE's calculators that run in this process, start no command and read no file, with the arguments that keep it so.
BUILT_IN: dict[str, tuple[str, frozenset[str]]] = {
    "emt": ("ase.calculators.emt:EMT", frozenset({"asap_cutoff"})),
    "lj": ("ase.calculators.lj:LennardJones", frozenset({"epsilon", "sigma", "rc", "ro", "smooth"})),
    "morse": ("ase.calculators.morse:MorsePotential", frozenset({"epsilon", "rho0", "r0", "rcut1", "rcut2"})),
    "ideal_gas": ("ase.calculators.idealgas:IdealGas", frozenset()),
}


class ASECalculator(PotentialSettings):
    """An ASE calculator: `emt`, `lj`, `morse`, `ideal_gas`, or `module:Class` where code is trusted."""

    calculator: str
    """Name of a calculator that comes with ASE, or `module:Class` of one that takes `arguments`."""
    arguments: dict[str, Scalar] = Field(default_factory=dict)
    """Arguments of the calculator: `{epsilon: 0.01, sigma: 3.4}`."""

    @field_validator("calculator")
    @classmethod
    def _check_calculator(cls, name: str, info: ValidationInfo) -> str:
        if ":" in name:
            if not validation_context(info)[1]:
                raise ValueError(
                    f"'{name}' is code outside this package, and importing it runs it. If you trust it, say so "
                    f"with --trust-code; or use one of {', '.join(BUILT_IN)}"
                )
            try:
                _import_calculator(name)
            except PluginError as error:
                raise ValueError(str(error)) from error
        elif name not in BUILT_IN:
            hint = (
                f"{nearest(name, BUILT_IN)} Known: {', '.join(BUILT_IN)}, or module:Class with --trust-code."
            )
            raise ValueError(f"there is no calculator '{name}' that runs without files or commands. {hint}")
        return name

    @model_validator(mode="after")
    def _check_arguments(self) -> Self:
        if self.calculator not in BUILT_IN:
            return self
        allowed = BUILT_IN[self.calculator][1]
        for name in self.arguments:
            if name not in allowed:
                known = ", ".join(sorted(allowed)) or "none"
                raise ValueError(
                    f"'{self.calculator}' has no argument '{name}'. {nearest(name, allowed)} Known: {known}."
                )
        return self

    @property
    def names_code(self) -> bool:
        return ":" in self.calculator

    @property
    def label(self) -> str:
        """Name for people: `emt (ASE)`."""
        return f"{self.calculator} (ASE)"

    @property
    def fingerprint(self) -> str:
        """Calculator, its arguments, and the version of its package."""
        arguments = json.dumps(self.arguments, sort_keys=True)
        digest = hashlib.sha256(f"{self.calculator} {arguments}".encode()).hexdigest()[:12]
        return f"ase-{self.calculator}-{_package_version(self.calculator)}-{digest}"

    @cached_property
    def _calculator(self) -> Any:
        path = BUILT_IN[self.calculator][0] if self.calculator in BUILT_IN else self.calculator
        try:
            # Whether the code is trusted was asked when the campaign was read.
            return _import_calculator(path)(**self.arguments)
        except TypeError as error:
            raise PluginError(f"the calculator '{self.calculator}' cannot be made: {error}") from error

    def prepare(self) -> None:
        """Make the calculator, which may load weights."""
        _ = self._calculator

    def compute(self, atoms: Sequence[Atoms], want: frozenset[str]) -> Sequence[Forces]:
        """Compute energy, forces and stress of each arrangement.

        Args:
            atoms: n arrangements.
            want: of `energy`, `forces`, `stress`; without `stress`, the stress is None.

        Returns:
            Energy in eV per cell, forces in eV/Å, stress in eV/Å^3, per arrangement.

        Raises:
            PotentialError: the calculator has no parameters for an element, or gives no stress.
        """
        return [self._compute_single_point(item, want) for item in atoms]

    def _compute_single_point(self, atoms: Atoms, want: frozenset[str]) -> Forces:
        calculator = self._calculator
        calculator.reset()  # neighbour lists kept from an earlier arrangement change the last digits
        own = atoms.copy()
        own.calc = calculator
        try:
            energy = float(own.get_potential_energy())
            forces = np.array(own.get_forces(), dtype=np.float64)
            stress = np.array(own.get_stress(voigt=False), dtype=np.float64) if "stress" in want else None
        except (NotImplementedError, KeyError, ValueError) as error:
            formula = atoms.get_chemical_formula()
            raise PotentialError(f"the calculator '{self.calculator}' fails on {formula}: {error}") from error
        return Forces(energy, forces, stress)


def _import_calculator(path: str) -> Any:
    try:
        return import_campaign_object(path)
    except Exception as error:  # foreign code may raise anything while it is imported
        cause = (
            error if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: {error}"
        )
        raise PluginError(f"the calculator '{path}' cannot be loaded: {cause}.") from error


@cache
def _package_version(calculator: str) -> str:
    """Version of the calculator's package.

    It is a hash of the file if the calculator is a single module.
    """
    package = "ase" if calculator in BUILT_IN else calculator.partition(":")[0].partition(".")[0]
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        with allow_module(package):
            spec = find_spec(package)
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        return "unversioned"
    return hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()[:12]
