"""Contracts between the rooms of the package and with plug-ins.

A plug-in that keeps its contract (`invdesign.testing` checks it) is treated like a built-in one.
"""

from __future__ import annotations

import warnings

from invdesign import arrays
from invdesign.protocols.derivations import (
    Derivation,
    DerivationSettings,
    Derived,
    Phase,
    PhaseDerivation,
)
from invdesign.protocols.engines import Engine, Task, TaskResult
from invdesign.protocols.evaluators import (
    Batch,
    BlockScorer,
    CompositionScorer,
    EstimatingEvaluator,
    Evaluator,
    EvaluatorSettings,
    FolderEvaluator,
    JobEvaluator,
    Judgement,
    MeasuredEvaluator,
    ReadingEvaluator,
    find_side_structures,
    is_evaluator,
)
from invdesign.protocols.generators import (
    ORIGIN,
    Condition,
    Generator,
    GeneratorSettings,
    KnownCrystal,
    LatentGenerator,
    Samples,
    TrainableGenerator,
    TrainingSet,
    Wish,
    find_allowed_elements,
)
from invdesign.protocols.optimizers import (
    AnyOptimizer,
    Context,
    History,
    Optimizer,
    OptimizerSettings,
    StageView,
    collect_notes,
    count_stages_until,
)
from invdesign.protocols.potentials import Forces, Potential, PotentialSettings, potential_of
from invdesign.protocols.spaces import (
    DescribedSpace,
    Descriptor,
    Dimension,
    Domain,
    FiniteSpace,
    HintingSpace,
    InheritingSpace,
    LinearRule,
    NamingSpace,
    OpenSpace,
    Operator,
    Placement,
    PreparedSpace,
    RecognisingSpace,
    ReferencedSpace,
    RowSpace,
    SearchSpace,
    SpaceSettings,
    StructureSpace,
    TabledSpace,
    TypedSpace,
    VectorSpace,
    candidate_name,
    descriptors_of,
    design_of,
    is_finite,
    is_near,
    place_genome,
)

__all__ = [
    "ORIGIN",
    "AnyOptimizer",
    "Batch",
    "BlockScorer",
    "CompositionScorer",
    "Condition",
    "Context",
    "Derivation",
    "DerivationSettings",
    "Derived",
    "DescribedSpace",
    "Descriptor",
    "Dimension",
    "Domain",
    "Engine",
    "EstimatingEvaluator",
    "Evaluator",
    "EvaluatorSettings",
    "FiniteSpace",
    "FolderEvaluator",
    "Forces",
    "Generator",
    "GeneratorSettings",
    "HintingSpace",
    "History",
    "InheritingSpace",
    "JobEvaluator",
    "Judgement",
    "KnownCrystal",
    "LatentGenerator",
    "LinearRule",
    "MeasuredEvaluator",
    "NamingSpace",
    "OpenSpace",
    "Operator",
    "Optimizer",
    "OptimizerSettings",
    "Phase",
    "PhaseDerivation",
    "Placement",
    "Potential",
    "PotentialSettings",
    "PreparedSpace",
    "ReadingEvaluator",
    "RecognisingSpace",
    "ReferencedSpace",
    "RowSpace",
    "Samples",
    "SearchSpace",
    "SpaceSettings",
    "StageView",
    "StructureSpace",
    "TabledSpace",
    "Task",
    "TaskResult",
    "TrainableGenerator",
    "TrainingSet",
    "TypedSpace",
    "VectorSpace",
    "Wish",
    "candidate_name",
    "collect_notes",
    "count_stages_until",
    "descriptors_of",
    "design_of",
    "find_allowed_elements",
    "find_side_structures",
    "is_evaluator",
    "is_finite",
    "is_near",
    "place_genome",
    "potential_of",
]

_RENAMED: dict[str, tuple[str, object]] = {  # old names, for one version
    "FloatArray": ("invdesign.arrays.FloatArray", arrays.FloatArray),
    "depth_until": ("count_stages_until", count_stages_until),
    "notes_of": ("collect_notes", collect_notes),
}


def __getattr__(name: str) -> object:
    if name in _RENAMED:
        new, value = _RENAMED[name]
        message = f"invdesign.protocols.{name} is now {new}; the old name goes with the next version"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return value
    raise AttributeError(f"module 'invdesign.protocols' has no attribute '{name}'")
