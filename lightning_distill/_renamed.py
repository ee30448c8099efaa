"""Names of version 0.1.0 and their successors, for error messages. Kept for one release.

Append new entries to the tables in alphabetical order; nothing else has to be edited.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from typing import Self

P = ParamSpec("P")
R = TypeVar("R")

#: Public names that were exported by the package.
ATTRIBUTES = {
    "ExpertTrajectories": "ExpertTrajectoryRecorder",
    "ExportSyntheticSet": "SyntheticSetExport",
    "SyntheticImages": "SyntheticImageLogger",
}

#: Arguments of constructors, functions and commands. An entry ``"Owner.name"`` holds for one class or function (and
#: subclasses) and wins over ``"name"``. Names that an owner still accepts are never reported.
ARGUMENTS = {
    "DCDistiller.inner": "inner_loop",
    "DCDistiller.outer": "outer_loop",
    "Distiller.start": "init",
    "FolderDataModule.assume_hu": "read.assume_hu",
    "FolderDataModule.axis": "read.axis",
    "FolderDataModule.frames": "read.frames",
    "FolderDataModule.label_column": "columns.label",
    "FolderDataModule.mask_column": "columns.mask",
    "FolderDataModule.mask_label": "read.mask_label",
    "FolderDataModule.max_pixels": "read.max_pixels",
    "FolderDataModule.path_column": "columns.path",
    "FolderDataModule.patient_column": "columns.patient",
    "FolderDataModule.spacing": "read.spacing",
    "FolderDataModule.split_column": "columns.split",
    "FolderDataModule.window": "read.window",
    "MTTDistiller.grow_from": "max_start_initial",
    "MTTDistiller.student_lr_lr": "lr_lr",
    "MTTDistiller.syn_batch": "batch_syn",
    "StudentEvaluation.set": "synthetic_set",
    "evaluate.set": "synthetic_set",
    "mix.set": "synthetic_set",
}

#: Modules below ``lightning_distill`` that moved.
MODULES = {
    "audit.composition": "audit.classes",
    "audit.copies": "audit.exact_duplicates",
    "audit.likeness": "audit.similarity",
    "audit.moves": "audit.transforms",
    "audit.near": "audit.near_duplicates",
    "audit.pixels": "audit.image_checks",
    "audit.whole": "audit.run",
    "augment": "augmentation.siamese",
    "bench.jobs": "bench.cases",
    "bench.peak": "bench.memory",
    "bench.textbook": "bench.reference",
    "bench.turns": "bench.interleaved",
    "callbacks.experts": "callbacks.expert_recorder",
    "callbacks.export": "callbacks.set_export",
    "callbacks.images": "callbacks.image_logger",
    "callbacks.students": "callbacks.student_evaluation",
    "card": "sets.card",
    "chunks": "functional.chunking",
    "commands.complaints": "commands._errors",
    "commands.subjects": "evaluation.candidates",
    "commands.words": "commands._argv",
    "compiling": "functional.compile",
    "coresets": "sets.coresets",
    "data.arrays": "data.base",
    "data.combinations": "data.checks.label_combinations",
    "data.contract": "data.base",
    "data.decoding": "data.folder.decode",
    "data.draws": "data.loaders",
    "data.fitting": "data.folder.resize",
    "data.groups": "data.checks.groups",
    "data.idx": "data.mnist",
    "data.layout": "data.checks.arrays",
    "data.listing": "data.folder.index",
    "data.medmnist3d": "data.medmnist.volumes",
    "data.medmnist_file": "data.medmnist.file",
    "data.medmnist_set": "data.medmnist.base",
    "data.reading": "data.readers",
    "data.reading.bare": "data.readers.dicom_detect",
    "data.reading.dicom": "data.readers.dicom",
    "data.reading.dicom_file": "data.readers.dicom_open",
    "data.reading.dispatch": "data.readers.dispatch",
    "data.reading.extra": "data.readers.optional_deps",
    "data.reading.mask": "data.readers.mask",
    "data.reading.nifti": "data.readers.nifti",
    "data.reading.picture": "data.readers.base",
    "data.reading.pictures": "data.readers.raster",
    "data.reading.volume": "data.readers.volume",
    "data.reading.windows": "data.readers.windows",
    "data.slices": "data.medmnist.slices",
    "data.splits": "data.checks.splits",
    "distillers.checks": "distillers._validation",
    "distillers.gradient_matching": "distillers.dc",
    "distillers.loops": "distillers.dc",
    "distillers.remembering": "distillers._checkpoint",
    "distillers.sharing": "distillers._sharding",
    "distillers.student_steps": "distillers.mtt.inner_loop",
    "distillers.trajectory_draws": "distillers.mtt.schedule",
    "evaluation.adapt": "sets.adapt",
    "evaluation.assessment": "evaluation.result",
    "evaluation.calibration": "evaluation.metrics.calibration",
    "evaluation.cohort": "evaluation.students.vectorized",
    "evaluation.derived": "evaluation.metrics.relative",
    "evaluation.embedding": "evaluation.features",
    "evaluation.exam": "evaluation.students.evaluator",
    "evaluation.join": "sets.merge",
    "evaluation.predictions": "evaluation.metrics.predictions",
    "evaluation.priors": "evaluation.metrics.prior_correction",
    "evaluation.protocol": "evaluation.students.protocol",
    "evaluation.ranks": "utils.distributed",
    "evaluation.resampling": "evaluation.metrics.bootstrap",
    "evaluation.rows": "utils.csv_rows",
    "evaluation.stored": "sets.lazy_images",
    "evaluation.student": "evaluation.students.trainer",
    "evaluation.table": "evaluation.result_table",
    "evaluation.uncertainty": "evaluation.metrics.intervals",
    "gradients": "functional.gradients",
    "indicator.rules": "indicator.regression",
    "indicator.statistics": "indicator.correlation",
    "isolation": "utils.rng",
    "lazy": "utils.lazy_arrays",
    "machine": "utils.hardware",
    "networks.fused": "networks.fused_ops",
    "networks.stateless": "functional.build",
    "objectives.gradient": "objectives.gradient_matching",
    "objectives.labels": "objectives.multi_label",
    "objectives.mean_embedding": "objectives.distribution_matching",
    "objectives.trajectory": "objectives.trajectory_matching",
    "pictures": "sets.image_grid",
    "precision": "utils.precision",
    "presets": "augmentation.presets",
    "real": "distillers.real_batch",
    "report.diagrams": "visualization.figures",
    "report.drawing": "visualization.style",
    "report.numbers": "visualization.format",
    "report.paths": "report.redact",
    "report.sets": "report.set_section",
    "report.words": "report.captions",
    "storage": "sets.storage",
    "synthetic": "sets.synthetic",
    "training_set": "sets.labeled_set",
    "trajectories": "distillers.mtt.experts",
    "unroll": "functional.unroll",
    "visualization.image_grid": "sets.image_grid",
}

#: Columns of result files. Files with the old columns are still read.
COLUMNS = {
    "acc_ci95": "acc_ci95_half_width",
    "acc_high": "acc_ci95_high",
    "acc_low": "acc_ci95_low",
    "auroc_high": "auroc_ci95_high",
    "auroc_low": "auroc_ci95_low",
    "balanced_acc_high": "balanced_acc_ci95_high",
    "balanced_acc_low": "balanced_acc_ci95_low",
    "gain_random": "acc_gain_over_random",
    "map": "mAP",
    "map_std": "mAP_std",
    "random_acc_ci95": "random_acc_ci95_half_width",
}

#: Cells of result files by column. Files with the old cells are still read.
CELLS = {
    "trained_on": {
        "all real data": "full",
        "all real data, balanced": "full_balanced",
        "all real data, classes weighted": "full_weighted",
        "herding (embedding)": "herding_embedding",
        "kcenter (embedding)": "kcenter_embedding",
        "kmeans (embedding)": "kmeans_embedding",
    },
}

#: Last part of a log key, after ``val/`` or ``test/``.
LOG_KEYS = {
    "gain_random": "acc_gain_over_random",
    "map": "mAP",
}


def renamed_attribute(name: str) -> str:
    """Return a hint that names the successor of an exported name, or an empty string."""
    return f"; it was renamed to {ATTRIBUTES[name]!r}" if name in ATTRIBUTES else ""


def renamed_argument(name: str, owners: Sequence[str] = ()) -> str:
    """Return a hint that names the successor of an argument, or an empty string.

    Args:
        name: Refused argument.
        owners: Names of the class and its bases, or of the function, that refused it.
    """
    new = next((ARGUMENTS[key] for owner in owners if (key := f"{owner}.{name}") in ARGUMENTS), ARGUMENTS.get(name))
    return "" if new is None else f"; it was renamed to {new!r}"


def renamed_module(name: str) -> str:
    """Return a hint that names the new place of a module, or an empty string.

    Args:
        name: Full dotted name of the module.
    """
    new = MODULES.get(name.removeprefix("lightning_distill."))
    return "" if new is None else f"; it moved to 'lightning_distill.{new}'"


class RenamedArguments:
    """Mixin whose constructor names the successor of a renamed keyword argument.

    The check runs in ``__new__``, so that signatures and Lightning's ``save_hyperparameters`` see ``__init__`` only.

    Example:
        >>> class StudentEvaluation(RenamedArguments):
        ...     def __init__(self, synthetic_set: str = "") -> None: ...
        >>> StudentEvaluation(set="a")
        Traceback (most recent call last):
        TypeError: StudentEvaluation has no argument 'set'; it was renamed to 'synthetic_set'
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Check the keyword arguments and create the object."""
        owners = [base.__name__ for base in cls.__mro__]
        for name in kwargs:
            hint = renamed_argument(name, owners)
            if hint and not any(
                name in inspect.signature(base.__init__).parameters  # type: ignore[misc]
                for base in cls.__mro__
                if "__init__" in vars(base)
            ):
                raise TypeError(f"{cls.__name__} has no argument {name!r}{hint}")
        return super().__new__(cls)


def with_renamed_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function so that a renamed keyword argument raises an error that names its successor."""

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in kwargs.keys() - inspect.signature(function).parameters.keys():
            if hint := renamed_argument(name, [function.__name__]):
                raise TypeError(f"{function.__name__}() has no argument {name!r}{hint}")
        return function(*args, **kwargs)

    return checked


class RenamedModuleFinder(MetaPathFinder):
    """Last import finder: names the new place of a module that moved."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        """Raise ModuleNotFoundError for a module in `MODULES`; find nothing otherwise."""
        if fullname.startswith("lightning_distill.") and (hint := renamed_module(fullname)):
            raise ModuleNotFoundError(f"no module named {fullname!r}{hint}", name=fullname)
