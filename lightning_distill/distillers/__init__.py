"""The methods: one file each."""

from lightning_distill.distillers.base import Distiller
from lightning_distill.distillers.dm import DMDistiller

__all__ = ["DMDistiller", "Distiller"]
