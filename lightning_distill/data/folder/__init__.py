"""Folders of image files: index, decode, resize, cache."""

from lightning_distill.data.folder.column_names import Columns

__all__ = ["Columns"]
