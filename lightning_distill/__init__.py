"""Dataset distillation as PyTorch Lightning plugins: methods, data modules and callbacks."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_distill.callbacks import (
        ExpertTrajectories,
        ExportSyntheticSet,
        StudentEvaluation,
        SyntheticImages,
    )
    from lightning_distill.commands.evaluate import evaluate
    from lightning_distill.data import (
        ArrayDataModule,
        BalancedDataModule,
        CombinedDataModule,
        DigitsDataModule,
        FolderDataModule,
        MedMNIST3DDataModule,
        MedMNISTDataModule,
        MNISTDataModule,
        NpzDataModule,
        SitesDataModule,
    )
    from lightning_distill.distillers import DCDistiller, Distiller, DMDistiller, DSADistiller, MTTDistiller
    from lightning_distill.networks import create_network, list_networks
    from lightning_distill.sets.storage import load_set
    from lightning_distill.sets.synthetic import SyntheticSet
    from lightning_distill.spec import DataSpec

__version__ = "0.1.0"

__all__ = [
    "ArrayDataModule",
    "BalancedDataModule",
    "CombinedDataModule",
    "DCDistiller",
    "DMDistiller",
    "DSADistiller",
    "DataSpec",
    "DigitsDataModule",
    "Distiller",
    "ExpertTrajectories",
    "ExportSyntheticSet",
    "FolderDataModule",
    "MNISTDataModule",
    "MTTDistiller",
    "MedMNIST3DDataModule",
    "MedMNISTDataModule",
    "NpzDataModule",
    "SitesDataModule",
    "StudentEvaluation",
    "SyntheticImages",
    "SyntheticSet",
    "__version__",
    "create_network",
    "evaluate",
    "list_networks",
    "load_set",
]

_HOMES = ("distillers", "data", "callbacks", "networks", "spec", "storage", "synthetic", "commands.evaluate")


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for: importing the package costs nothing."""
    if name in __all__:
        for home in _HOMES:
            module = import_module(f"{__name__}.{home}")
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
