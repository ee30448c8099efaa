"""Import the packages of the extra ``dicom`` when a file first needs them."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from lightning_distill.data.readers.base import InvalidReadOption


class MissingExtraError(InvalidReadOption, ImportError):
    """Error of a package of the extra ``dicom`` that is not installed."""


def import_optional(package: str, files: str) -> ModuleType:
    """Import a package of the extra ``dicom``.

    Args:
        package: Dotted name of the module.
        files: Kind of files that need it, for the error message.

    Raises:
        MissingExtraError: The package is not installed; the message contains the pip command.
    """
    try:
        return import_module(package)
    except ImportError:
        root = package.split(".")[0]
        raise MissingExtraError(f"reading {files} needs {root}: pip install 'lightning-distill[dicom]'") from None
