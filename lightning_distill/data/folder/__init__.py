"""Folders of image files: index, decode, resize, cache."""

from lightning_distill.data.folder.table import Columns

__all__ = ["Columns"]
