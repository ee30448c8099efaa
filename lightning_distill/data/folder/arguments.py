"""Check the arguments of ``FolderDataModule`` and write them as command line options."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import cast, get_args

from lightning_distill.data.folder.decode import DecodeOptions, OnError
from lightning_distill.data.folder.resize import Color
from lightning_distill.utils.resize import Fit


def check_choices(fit: str, color: str, on_error: str) -> None:
    """Raise ValueError for an unknown choice."""
    for key, (value, kind) in {"fit": (fit, Fit), "color": (color, Color), "on_error": (on_error, OnError)}.items():
        if value not in get_args(kind):
            raise ValueError(f"unknown {key}={value!r}; use one of {', '.join(get_args(kind))}")


def check_fractions(val_fraction: float, test_fraction: float) -> None:
    """Raise ValueError for a fraction that leaves no images in a split."""
    if not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction={val_fraction}; it must lie between 0 and 1, e.g. 0.1")
    if not 0 <= test_fraction <= 0.5:
        raise ValueError(f"test_fraction={test_fraction}; it must be 0 (no test split made) to 0.5, e.g. 0.2")


def flatten_options(options: DecodeOptions) -> dict[str, object]:
    """Return options by their command line names, with tuples as lists."""
    flat: dict[str, object] = json.loads(json.dumps(asdict(options)))
    read = cast(dict[str, object], flat.pop("read"))
    flat.update({f"read.{key}": value for key, value in read.items()})
    flat["groups"] = "dicom" if flat.pop("patients") else None
    return flat
