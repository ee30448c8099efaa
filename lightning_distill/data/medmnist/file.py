"""One npz file of MedMNIST: what the package says of it, where it lies, whether it is the official one."""

from __future__ import annotations

import difflib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from lightning_distill.data.checks.arrays import Array
from lightning_distill.data.npz import MAP_ABOVE, read_npz
from lightning_distill.spec import Task

#: Pixels or voxels an edge.
SIZES, SIZES_3D = (28, 64, 128, 224), (28, 64)
_TASKS: dict[str, Task] = {
    "multi-class": "multi-class",
    "binary-class": "binary",
    "ordinal-regression": "ordinal",
    "multi-label, binary-class": "multi-label",
}


class SetInfo(TypedDict):
    """What the medmnist package knows of a set, by the arguments of `ArrayDataModule` that it is for."""

    class_names: list[str]
    task: Task
    license: str


@dataclass(frozen=True)
class MedMNISTFile:
    """A set of MedMNIST at one size.

    Args:
        flag: the set, e.g. ``breastmnist`` or ``organmnist3d``.
        size: edge of an image or volume.
        root: folder of the npz files; ``None`` takes ``MEDMNIST_ROOT``, else the medmnist package's folder.
        download: fetch a missing file through the medmnist package.
        volumes: whether a 3D set is wanted.

    Raises:
        ValueError: unknown name or size (the closest are offered).
    """

    flag: str
    size: int
    root: str | None
    download: bool
    volumes: bool = False

    def __post_init__(self) -> None:
        from medmnist import INFO

        sets = [key for key in INFO if key.endswith("3d") == self.volumes]
        if self.flag not in sets:
            close = difflib.get_close_matches(self.flag, sets, n=3, cutoff=0.3) or sets
            other = "MedMNISTDataModule" if self.volumes else "MedMNIST3DDataModule"
            there = f"; {self.flag} is read by {other}" if self.flag in INFO else ""
            raise ValueError(f"unknown MedMNIST set {self.flag!r}; closest: {', '.join(close)}{there}")
        sizes, what = (SIZES_3D, "MedMNIST3D") if self.volumes else (SIZES, "MedMNIST")
        if self.size not in sizes:
            raise ValueError(f"size={self.size}; {what} has {', '.join(map(str, sizes))}")

    @property
    def name(self) -> str:
        """The set and, where it is not 28, the size: the stem of the file."""
        return self.flag if self.size == 28 else f"{self.flag}_{self.size}"

    @property
    def path(self) -> Path:
        """The npz file: in ``root``, else in ``$MEDMNIST_ROOT``, else where the medmnist package keeps it."""
        root = self.root or os.environ.get("MEDMNIST_ROOT")
        if root is None:
            from medmnist.info import DEFAULT_ROOT

            root = DEFAULT_ROOT
        return Path(root) / f"{self.name}.npz"

    @property
    def about(self) -> SetInfo:
        """Classes, task and licence."""
        from medmnist import INFO

        info = INFO[self.flag]
        return {
            "class_names": list(info["label"].values()),
            "task": _TASKS[info["task"]],
            "license": info["license"],
        }

    def fetch(self) -> None:
        """Download a missing file.

        Raises:
            FileNotFoundError: it is missing, and downloading is not allowed or has failed.
        """
        if self.path.is_file():
            return
        missing = f"{self.path.name} is not in {self.path.parent}"
        if not self.download:
            raise FileNotFoundError(f"{missing}; say by root= or MEDMNIST_ROOT where it is, or set download=True")
        import medmnist

        info = medmnist.INFO[self.flag]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            getattr(medmnist, info["python_class"])(
                split="train", root=str(self.path.parent), size=self.size, download=True
            )
        except (RuntimeError, OSError) as error:  # medmnist's word for whatever failed
            url = info["url" if self.size == 28 else f"url_{self.size}"]
            raise FileNotFoundError(
                f"{missing} and cannot be downloaded; put it there from {url}, or say by root= or MEDMNIST_ROOT "
                "where it is"
            ) from error

    def read(self) -> dict[str, Array]:
        """The arrays of the file, fetched if it is missing; see `read_npz`."""
        self.fetch()
        return read_npz(self.path)

    def provenance(self) -> str:
        """What the file is called in tables: its checksum decides."""
        from medmnist import INFO

        if self.path.stat().st_size > MAP_ABOVE:
            return "not compared with the official file"
        found = hashlib.md5(usedforsecurity=False)
        with self.path.open("rb") as file:
            while part := file.read(1 << 22):
                found.update(part)
        official = INFO[self.flag]["MD5" if self.size == 28 else f"MD5_{self.size}"]
        return "official file" if found.hexdigest() == official else "not the official file"
