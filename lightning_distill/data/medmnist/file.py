"""``MedMNISTFile``: metadata, location, download and checksum of one MedMNIST npz file."""

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

#: Edge lengths of the 2D sets in pixels, and of the 3D sets in voxels.
SIZES, SIZES_3D = (28, 64, 128, 224), (28, 64)
#: Bytes read at once to compute a checksum.
CHUNK_BYTES = 1 << 22
#: Task by the name that the medmnist package uses.
_TASKS: dict[str, Task] = {
    "multi-class": "multi-class",
    "binary-class": "binary",
    "ordinal-regression": "ordinal",
    "multi-label, binary-class": "multi-label",
}


class SetInfo(TypedDict):
    """Metadata from the medmnist package, as keyword arguments of `ArrayDataModule`."""

    class_names: list[str]
    task: Task
    license: str


@dataclass(frozen=True)
class MedMNISTFile:
    """File of a MedMNIST set at one size.

    Args:
        flag: Name of the set, e.g. ``breastmnist`` or ``organmnist3d``.
        size: Edge length of an image in pixels, or of a volume in voxels.
        root: Folder of the npz files. ``None`` takes the environment variable ``MEDMNIST_ROOT``, else the folder of
            the medmnist package.
        download: Download a missing file with the medmnist package.
        volumes: Accept the 3D sets instead of the 2D sets.

    Raises:
        ValueError: If the name or size is unknown. The message lists the closest names.
    """

    flag: str
    size: int
    root: str | os.PathLike[str] | None
    download: bool
    volumes: bool = False

    def __post_init__(self) -> None:
        from medmnist import INFO

        sets = [key for key in INFO if key.endswith("3d") == self.volumes]
        if self.flag not in sets:
            close = difflib.get_close_matches(self.flag, sets, n=3, cutoff=0.3) or sets
            other = "MedMNISTDataModule" if self.volumes else "MedMNIST3DDataModule"
            hint = f"; {self.flag} is read by {other}" if self.flag in INFO else ""
            raise ValueError(f"unknown MedMNIST set {self.flag!r}; closest: {', '.join(close)}{hint}")
        sizes, collection = (SIZES_3D, "MedMNIST3D") if self.volumes else (SIZES, "MedMNIST")
        if self.size not in sizes:
            raise ValueError(f"size={self.size}; {collection} has {', '.join(map(str, sizes))}")

    @property
    def name(self) -> str:
        """Stem of the file: the name of the set and, if it is not 28, the size."""
        return self.flag if self.size == 28 else f"{self.flag}_{self.size}"

    @property
    def path(self) -> Path:
        """Path of the npz file: in ``root``, else in ``$MEDMNIST_ROOT``, else in the folder of the medmnist package."""
        root = self.root or os.environ.get("MEDMNIST_ROOT")
        if root is None:
            from medmnist.info import DEFAULT_ROOT

            root = DEFAULT_ROOT
        return Path(root) / f"{self.name}.npz"

    @property
    def info(self) -> SetInfo:
        """Class names, task and license."""
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
            FileNotFoundError: If the file is missing and ``download=False``, or the download failed.
        """
        if self.path.is_file():
            return
        missing = f"{self.path.name} is not in {self.path.parent}"
        if not self.download:
            raise FileNotFoundError(f"{missing}; set root= or MEDMNIST_ROOT to its folder, or download=True")
        import medmnist

        info = medmnist.INFO[self.flag]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            getattr(medmnist, info["python_class"])(
                split="train", root=str(self.path.parent), size=self.size, download=True
            )
        except (RuntimeError, OSError) as error:  # medmnist raises RuntimeError for any failure
            url = info["url" if self.size == 28 else f"url_{self.size}"]
            raise FileNotFoundError(
                f"{missing} and cannot be downloaded; save {url} there, or set root= or MEDMNIST_ROOT to its folder"
            ) from error

    def read(self) -> dict[str, Array]:
        """Read the arrays of the file by name, after a download if it is missing. See `read_npz`."""
        self.fetch()
        return read_npz(self.path)

    def provenance(self) -> str:
        """Origin shown in cards and tables, decided by the checksum of the file.

        Returns:
            ``official file``, ``not the official file`` or, for a very large file, ``not compared with the official
            file``.
        """
        from medmnist import INFO

        if self.path.stat().st_size > MAP_ABOVE:
            return "not compared with the official file"
        checksum = hashlib.md5(usedforsecurity=False)
        with self.path.open("rb") as file:
            while part := file.read(CHUNK_BYTES):
                checksum.update(part)
        official = INFO[self.flag]["MD5" if self.size == 28 else f"MD5_{self.size}"]
        return "official file" if checksum.hexdigest() == official else "not the official file"
