"""Packages of the extra ``dicom``, asked for when a file first needs one."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from lightning_distill.data.readers.base import InvalidReadOption


class MissingExtraError(InvalidReadOption, ImportError):
    """A package of the extra ``dicom`` is not installed."""


def import_optional(package: str, what: str) -> ModuleType:
    """Import a package of the extra, or say how to get it.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        return import_module(package)
    except ImportError:
        root = package.split(".")[0]
        raise MissingExtraError(f"reading {what} needs {root}: pip install 'lightning-distill[dicom]'") from None
