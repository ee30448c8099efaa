"""Dataset distillation as PyTorch Lightning plugins: methods, data modules and callbacks."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from lightning_distill._renamed import RenamedModuleFinder, renamed_attribute
from lightning_distill._version import __version__

if TYPE_CHECKING:
    from lightning_distill.callbacks import (
        DistillCheckpoint as DistillCheckpoint,
    )
    from lightning_distill.callbacks import (
        ExpertTrajectoryRecorder as ExpertTrajectoryRecorder,
    )
    from lightning_distill.callbacks import (
        GeneratorProgress as GeneratorProgress,
    )
    from lightning_distill.callbacks import (
        StudentEvaluation as StudentEvaluation,
    )
    from lightning_distill.callbacks import (
        SyntheticImageLogger as SyntheticImageLogger,
    )
    from lightning_distill.callbacks import (
        SyntheticSetExport as SyntheticSetExport,
    )
    from lightning_distill.data import (
        ArrayDataModule as ArrayDataModule,
    )
    from lightning_distill.data import (
        BalancedDataModule as BalancedDataModule,
    )
    from lightning_distill.data import (
        CombinedDataModule as CombinedDataModule,
    )
    from lightning_distill.data import (
        DigitsDataModule as DigitsDataModule,
    )
    from lightning_distill.data import (
        FolderDataModule as FolderDataModule,
    )
    from lightning_distill.data import (
        MedMNIST3DDataModule as MedMNIST3DDataModule,
    )
    from lightning_distill.data import (
        MedMNISTDataModule as MedMNISTDataModule,
    )
    from lightning_distill.data import (
        MNISTDataModule as MNISTDataModule,
    )
    from lightning_distill.data import (
        NpzDataModule as NpzDataModule,
    )
    from lightning_distill.data import (
        SitesDataModule as SitesDataModule,
    )
    from lightning_distill.distillers import (
        DCDistiller as DCDistiller,
    )
    from lightning_distill.distillers import (
        Distiller as Distiller,
    )
    from lightning_distill.distillers import (
        DMDistiller as DMDistiller,
    )
    from lightning_distill.distillers import (
        DSADistiller as DSADistiller,
    )
    from lightning_distill.distillers import (
        IDMDistiller as IDMDistiller,
    )
    from lightning_distill.distillers import (
        KRRDistiller as KRRDistiller,
    )
    from lightning_distill.distillers import (
        MTTDistiller as MTTDistiller,
    )
    from lightning_distill.distillers.contract import (
        check_distiller as check_distiller,
    )
    from lightning_distill.distillers.real_batch import (
        RealBatch as RealBatch,
    )
    from lightning_distill.distillers.registry import (
        list_distillers as list_distillers,
    )
    from lightning_distill.evaluation.evaluate import (
        evaluate as evaluate,
    )
    from lightning_distill.evaluation.fidelity.measure import (
        measure_fidelity as measure_fidelity,
    )
    from lightning_distill.evaluation.metrics.intervals import (
        paired_bootstrap as paired_bootstrap,
    )
    from lightning_distill.evaluation.metrics.predictions import (
        Predictions as Predictions,
    )
    from lightning_distill.evaluation.relabel import (
        relabel as relabel,
    )
    from lightning_distill.evaluation.students.protocol import (
        Protocol as Protocol,
    )
    from lightning_distill.evaluation.teacher_file import (
        load_teachers as load_teachers,
    )
    from lightning_distill.evaluation.teacher_file import (
        save_teachers as save_teachers,
    )
    from lightning_distill.evaluation.teachers import (
        TeacherEnsemble as TeacherEnsemble,
    )
    from lightning_distill.evaluation.teachers import (
        train_teachers as train_teachers,
    )
    from lightning_distill.functional.network import (
        FunctionalNetwork as FunctionalNetwork,
    )
    from lightning_distill.generators import (
        FlowGenerator as FlowGenerator,
    )
    from lightning_distill.generators import (
        GANGenerator as GANGenerator,
    )
    from lightning_distill.generators import (
        Generator as Generator,
    )
    from lightning_distill.generators import (
        load_generator as load_generator,
    )
    from lightning_distill.leakage import (
        audit_set as audit_set,
    )
    from lightning_distill.leakage import (
        audit_signals as audit_signals,
    )
    from lightning_distill.networks import (
        create_network as create_network,
    )
    from lightning_distill.networks import (
        list_networks as list_networks,
    )
    from lightning_distill.portfolio import (
        distill as distill,
    )
    from lightning_distill.sets.exporting import (
        export_set as export_set,
    )
    from lightning_distill.sets.inspection.run import (
        inspect_set as inspect_set,
    )
    from lightning_distill.sets.loaded_set import (
        LoadedSet as LoadedSet,
    )
    from lightning_distill.sets.loaded_set import (
        load_set as load_set,
    )
    from lightning_distill.sets.storage import (
        save_set as save_set,
    )
    from lightning_distill.sets.synthetic import (
        SyntheticSet as SyntheticSet,
    )
    from lightning_distill.spec import (
        DataSpec as DataSpec,
    )

#: Public names and the modules they are imported from on first access.
_EXPORTS = {
    "ArrayDataModule": "data",
    "BalancedDataModule": "data",
    "CombinedDataModule": "data",
    "DCDistiller": "distillers",
    "DMDistiller": "distillers",
    "DSADistiller": "distillers",
    "DataSpec": "spec",
    "DigitsDataModule": "data",
    "DistillCheckpoint": "callbacks",
    "Distiller": "distillers",
    "ExpertTrajectoryRecorder": "callbacks",
    "FlowGenerator": "generators",
    "FolderDataModule": "data",
    "FunctionalNetwork": "functional.network",
    "GANGenerator": "generators",
    "Generator": "generators",
    "GeneratorProgress": "callbacks",
    "IDMDistiller": "distillers",
    "KRRDistiller": "distillers",
    "LoadedSet": "sets.loaded_set",
    "MNISTDataModule": "data",
    "MTTDistiller": "distillers",
    "MedMNIST3DDataModule": "data",
    "MedMNISTDataModule": "data",
    "NpzDataModule": "data",
    "Predictions": "evaluation.metrics.predictions",
    "Protocol": "evaluation.students.protocol",
    "RealBatch": "distillers.real_batch",
    "SitesDataModule": "data",
    "StudentEvaluation": "callbacks",
    "SyntheticImageLogger": "callbacks",
    "SyntheticSet": "sets.synthetic",
    "SyntheticSetExport": "callbacks",
    "TeacherEnsemble": "evaluation.teachers",
    "audit_set": "leakage",
    "audit_signals": "leakage",
    "check_distiller": "distillers.contract",
    "create_network": "networks",
    "distill": "portfolio",
    "evaluate": "evaluation.evaluate",
    "export_set": "sets.exporting",
    "inspect_set": "sets.inspection.run",
    "list_distillers": "distillers.registry",
    "list_networks": "networks",
    "load_generator": "generators",
    "load_set": "sets.loaded_set",
    "load_teachers": "evaluation.teacher_file",
    "measure_fidelity": "evaluation.fidelity.measure",
    "paired_bootstrap": "evaluation.metrics.intervals",
    "relabel": "evaluation.relabel",
    "save_set": "sets.storage",
    "save_teachers": "evaluation.teacher_file",
    "train_teachers": "evaluation.teachers",
}

__all__ = ["__version__", *_EXPORTS]

sys.meta_path.append(RenamedModuleFinder())  # errors for modules that moved


def __getattr__(name: str) -> object:
    """Import a public name on first access, so that importing the package stays cheap."""
    if name in _EXPORTS:
        value = getattr(import_module(f"{__name__}.{_EXPORTS[name]}"), name)
        globals()[name] = value
        return value
    hint = renamed_attribute(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")


def __dir__() -> list[str]:
    """List the public names, before they are imported too, and no helper of this file."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
