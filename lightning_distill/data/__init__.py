"""Data modules that give class-balanced draws."""

from lightning_distill.data.arrays import ArrayDataModule
from lightning_distill.data.balanced import BalancedDataModule
from lightning_distill.data.combined import CombinedDataModule
from lightning_distill.data.contract import data_of
from lightning_distill.data.digits import DigitsDataModule
from lightning_distill.data.draws import Batches, Draws
from lightning_distill.data.folder import FolderDataModule
from lightning_distill.data.idx import MNISTDataModule
from lightning_distill.data.medmnist import MedMNISTDataModule
from lightning_distill.data.medmnist3d import MedMNIST3DDataModule
from lightning_distill.data.npz import NpzDataModule
from lightning_distill.data.sites import SitesDataModule

__all__ = [
    "ArrayDataModule",
    "BalancedDataModule",
    "Batches",
    "CombinedDataModule",
    "DigitsDataModule",
    "Draws",
    "FolderDataModule",
    "MNISTDataModule",
    "MedMNIST3DDataModule",
    "MedMNISTDataModule",
    "NpzDataModule",
    "SitesDataModule",
    "data_of",
]
