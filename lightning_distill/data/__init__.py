"""Data modules that serve class-balanced batches of real images."""

from lightning_distill.data.balanced import BalancedDataModule
from lightning_distill.data.base import ArrayDataModule
from lightning_distill.data.combined import CombinedDataModule
from lightning_distill.data.describe import DataInfo
from lightning_distill.data.digits import DigitsDataModule
from lightning_distill.data.folder.datamodule import FolderDataModule
from lightning_distill.data.loaders import ClassBalancedLoader, SequentialLoader
from lightning_distill.data.medmnist.images import MedMNISTDataModule
from lightning_distill.data.medmnist.volumes import MedMNIST3DDataModule
from lightning_distill.data.mnist import MNISTDataModule
from lightning_distill.data.npz import NpzDataModule
from lightning_distill.data.options import DataOptions
from lightning_distill.data.require import require_array_datamodule
from lightning_distill.data.sites import SitesDataModule

__all__ = [
    "ArrayDataModule",
    "BalancedDataModule",
    "ClassBalancedLoader",
    "CombinedDataModule",
    "DataInfo",
    "DataOptions",
    "DigitsDataModule",
    "FolderDataModule",
    "MNISTDataModule",
    "MedMNIST3DDataModule",
    "MedMNISTDataModule",
    "NpzDataModule",
    "SequentialLoader",
    "SitesDataModule",
    "require_array_datamodule",
]
