"""Dataset distillation as PyTorch Lightning plugins: methods, data modules and callbacks."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_HOMES = {
    "lightning_distill.distillers": ("DMDistiller", "Distiller"),
    "lightning_distill.data": (
        "ArrayDataModule", "BalancedDataModule", "DigitsDataModule", "MedMNISTDataModule", "NpzDataModule",
    ),
    "lightning_distill.callbacks": ("ExportSyntheticSet", "StudentEvaluation", "SyntheticImages"),
    "lightning_distill.networks": ("create_network", "list_networks"),
    "lightning_distill.spec": ("DataSpec",),
    "lightning_distill.storage": ("load_set",),
    "lightning_distill.synthetic": ("SyntheticSet",),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", *sorted(_HOME_OF)]

if TYPE_CHECKING:
    from lightning_distill.callbacks import ExportSyntheticSet, StudentEvaluation, SyntheticImages
    from lightning_distill.data import (
        ArrayDataModule,
        BalancedDataModule,
        DigitsDataModule,
        MedMNISTDataModule,
        NpzDataModule,
    )
    from lightning_distill.distillers import Distiller, DMDistiller
    from lightning_distill.networks import create_network, list_networks
    from lightning_distill.spec import DataSpec
    from lightning_distill.storage import load_set
    from lightning_distill.synthetic import SyntheticSet


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for: importing the package costs nothing."""
    if name in _HOME_OF:
        return getattr(import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names."""
    return __all__
