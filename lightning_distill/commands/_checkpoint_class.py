"""Class of a distiller that a checkpoint names: only one that is imported already, as the file may be a stranger's."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from lightning_distill.checkpoints.verified_io import VerifiedCheckpointIO
from lightning_distill.distillers import Distiller


def check_class(path: str | os.PathLike[str]) -> None:
    """Raise a ValueError if a checkpoint names a class that would have to be imported, or that is no distiller.

    An import runs code. Lightning's command line imports the class before it checks it.

    Args:
        path: Path of a checkpoint. Missing files are left to Lightning.
    """
    if not Path(path).is_file():
        return
    content = VerifiedCheckpointIO().load_checkpoint(path, weights_only=True)
    name = content.get("hyper_parameters", {}).get("_class_path")
    if name is None:
        return
    module, _, attribute = str(name).rpartition(".")
    found = getattr(sys.modules.get(module), attribute, None)
    if not (isinstance(found, type) and issubclass(found, Distiller)):
        raise ValueError(
            f"the checkpoint names the class {name!r}, which is no distiller that is imported already; give it as "
            "--model if you trust the checkpoint"
        )
