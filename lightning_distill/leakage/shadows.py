"""Shadow sets: the recipe repeated on random halves of the patients, each kept in a file of its own."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from lightning_distill.data import ArrayDataModule
from lightning_distill.leakage.measure import Measurement, Measurer
from lightning_distill.leakage.recipes import MadeSet, Recipe, Variant
from lightning_distill.leakage.subset import SubsetDataModule
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.spec import DataSpec
from lightning_distill.utils.atomic_files import remove_stale_temporaries, write_files_atomically
from lightning_distill.utils.progress import ProgressCounter

#: Number of sets whose students are trained together on a GPU.
GROUP = 16
#: Function that makes the sets of several halves, in their order. It may share work between them, such as real targets.
ShadowMaker = Callable[[Recipe, Sequence[ArrayDataModule]], Sequence[MadeSet]]


def make_one_by_one(recipe: Recipe, halves: Sequence[ArrayDataModule]) -> list[MadeSet]:
    """Make the set of each half by the recipe itself, one after the other.

    Args:
        recipe: Recipe of the sets.
        halves: Data of each set.
    """
    return [recipe.make(half) for half in halves]


@dataclass
class ShadowRun:
    """Shadow sets of one recipe in a folder. Finished ones are read, missing ones are made.

    A file is written after its set was measured, under a temporary name first, so that an interrupted run goes on
    where it stopped. More shadows can be added later: the first halves stay the same.

    Args:
        recipe: Recipe of the sets.
        data: Data module with all images.
        halves: Membership ``(N, n)`` of the training images.
        folder: Folder of the files.
        measurer: Measurements of each set.
        settings: Settings of the measurements, as plain data.
        maker: Function that makes sets; the default makes them one by one.
        group: Number of sets that are made and measured together.
        sources: Shadow files of the recipe that a `Variant` changes.
        public_statistics: Whether sets have the mean and standard deviation of all images, which lets them share work.
    """

    recipe: Recipe
    data: ArrayDataModule
    halves: NDArray[np.bool_]
    folder: Path
    measurer: Measurer
    settings: dict[str, object] = field(default_factory=dict)
    maker: ShadowMaker = make_one_by_one
    group: int = 1
    sources: Path | None = None
    public_statistics: bool = False

    def path(self, shadow: int) -> Path:
        """Return the file of a shadow set.

        Args:
            shadow: Number of the shadow set.
        """
        return self.folder / f"shadow-{shadow:03d}.safetensors"

    def missing(self) -> list[int]:
        """Return the shadow sets without a file.

        Raises:
            ValueError: A file is of another recipe, other data or other settings, or is damaged.
        """
        missing = []
        for shadow in range(len(self.halves)):
            path = self.path(shadow)
            remove_stale_temporaries(path)
            if not path.is_file():
                missing.append(shadow)
            elif read_fingerprint(path) != self.fingerprint(shadow):
                raise ValueError(
                    f"{self.folder} holds shadow sets of another recipe, other data or other settings; give another "
                    "folder, or remove it to start again"
                )
        return missing

    def run(self, progress: ProgressCounter) -> None:
        """Make and measure the missing shadow sets.

        Args:
            progress: Counter that advances by one with each set.
        """
        missing = self.missing()
        progress.advance(len(self.halves) - len(missing))
        self.folder.mkdir(parents=True, exist_ok=True)
        for start in range(0, len(missing), self.group):
            part = missing[start : start + self.group]
            progress.start(f"{self.recipe.name}: shadow {part[0] + 1} of {len(self.halves)}")
            began = time.perf_counter()
            made = self._make(part)
            distilled = time.perf_counter()
            measured = self.measurer.measure(made, self.recipe.ships_images)
            ended = time.perf_counter()
            seconds = np.array([distilled - began, ended - distilled]) / len(part)
            for shadow, one, measurement in zip(part, made, measured, strict=True):
                self._write(shadow, one, measurement, seconds)
                progress.advance()

    def fingerprint(self, shadow: int) -> str:
        """Return the hash of everything that a shadow set depends on.

        Args:
            shadow: Number of the shadow set.
        """
        spec = self.data.spec
        about = {
            "recipe": self.recipe.describe(),
            "data": replace(spec, resize="").to_dict(),  # a statement for receivers, no pixel depends on it
            "images": self.measurer.members.digest,
            "settings": {**self.settings, **({"public_statistics": True} if self.public_statistics else {})},
            "half": hashlib.sha256(np.packbits(self.halves[shadow]).tobytes()).hexdigest(),
        }
        return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()

    def _make(self, part: Sequence[int]) -> Sequence[MadeSet]:
        recipe = self.recipe
        if isinstance(recipe, Variant) and self.sources is not None:
            spec = self.data.spec
            made = [
                read_made(self.sources / self.path(shadow).name, spec, np.flatnonzero(self.halves[shadow]))
                for shadow in part
            ]
            return [
                replace(one, data=recipe.change(one.data, LabeledSet(one.data.pixels, one.data.labels, spec)))
                for one in made
            ]
        halves = [
            SubsetDataModule(self.data, np.flatnonzero(self.halves[s]), public_statistics=self.public_statistics)
            for s in part
        ]
        return self.maker(recipe, halves)

    def _write(self, shadow: int, made: MadeSet, measured: Measurement, seconds: NDArray[np.float64]) -> None:
        rows = np.flatnonzero(self.halves[shadow])
        arrays: dict[str, NDArray[np.generic]] = {
            "confidence": measured.confidence,
            "statistics": measured.statistics,
            "score": np.array(measured.score),
            "seconds": seconds,
            "origins": rows[made.origins],
            **{f"distance_{space}": values for space, values in measured.distances.items()},
        }
        if self.recipe.ships_images:
            data = made.data
            arrays |= {"images": data.pixels.numpy(), "labels": data.labels.numpy()}
            arrays |= {"mean": np.array(data.spec.mean), "std": np.array(data.spec.std)}
            arrays["formation"] = np.array(data.formation)
            if data.soft_labels is not None:
                arrays["soft_labels"] = data.soft_labels.numpy()
            if data.lr is not None:
                arrays["lr"] = np.array(data.lr)
        content = save(
            {name: np.ascontiguousarray(value).reshape(value.shape) for name, value in arrays.items()},
            metadata={"fingerprint": self.fingerprint(shadow)},
        )
        write_files_atomically({self.path(shadow): content})


def read_fingerprint(path: Path) -> str:
    """Return the fingerprint of a shadow file.

    Args:
        path: File of a shadow set.

    Raises:
        ValueError: The file is damaged.
    """
    try:
        with safe_open(path, framework="np") as file:
            return str((file.metadata() or {}).get("fingerprint", ""))
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}); remove it, and it is made again") from error


def read_arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of a shadow file.

    Args:
        path: File of a shadow set.
    """
    with safe_open(path, framework="np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)


def read_made(path: Path, spec: DataSpec, rows: NDArray[np.int64]) -> MadeSet:
    """Return the set of a shadow file.

    Args:
        path: File of a shadow set.
        spec: Description of the data; mean and standard deviation are those of the file.
        rows: Sorted rows of the half that the set was made from.
    """
    arrays = read_arrays(path)
    own = replace(spec, mean=tuple(arrays["mean"].tolist()), std=tuple(arrays["std"].tolist()))
    data = LabeledSet(
        torch.from_numpy(arrays["images"]),
        torch.from_numpy(arrays["labels"]),
        own,
        torch.from_numpy(arrays["soft_labels"]) if "soft_labels" in arrays else None,
        float(arrays["lr"]) if "lr" in arrays else None,
        int(arrays["formation"]),
    )
    return MadeSet(data, np.searchsorted(rows, arrays["origins"]))
