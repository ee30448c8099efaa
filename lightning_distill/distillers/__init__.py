"""Distillation methods, one file or package per family."""

from lightning_distill.distillers.base import Distiller
from lightning_distill.distillers.dc import DCDistiller, DSADistiller
from lightning_distill.distillers.dm import DMDistiller
from lightning_distill.distillers.idm import IDMDistiller
from lightning_distill.distillers.krr import KRRDistiller
from lightning_distill.distillers.mtt.distiller import MTTDistiller

__all__ = [
    "DCDistiller",
    "DMDistiller",
    "DSADistiller",
    "Distiller",
    "IDMDistiller",
    "KRRDistiller",
    "MTTDistiller",
]
