"""Measurements of all shadow sets of a recipe, and the evidence of an attack on each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_distill.leakage.evidence import Evidence
from lightning_distill.leakage.measure import Measurement
from lightning_distill.leakage.shadows import read_arrays

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ShadowTable:
    """Measurements of N shadow sets on n training and m held-out images.

    Two numbers are held for each image and set; the files keep those of every student and query.

    Args:
        members: Membership ``(N, n)``.
        confidence: Mean confidence over students and queries, ``(N, n + m)``.
        student: Confidence of the first student without augmentation, ``(N, n + m)``.
        distances: Distances ``(N, n + m)`` by space; empty where no images are shipped.
        statistics: Shipped statistics, mean and mean square of each channel, ``(N, s)``.
        image_statistics: Statistics of each image ``(n + m, s)``.
        origins: Rows of the training images that the images of each set started from.
        scores: Balanced accuracy of the students of each set on the held-out images, ``(N,)``.
        seconds: Seconds of making and of measuring each set, ``(N, 2)``.
    """

    members: NDArray[np.bool_]
    confidence: NDArray[np.float32]
    student: NDArray[np.float32]
    distances: dict[str, NDArray[np.float32]]
    statistics: Floats
    image_statistics: Floats
    origins: Sequence[NDArray[np.int64]]
    scores: Floats
    seconds: Floats

    @classmethod
    def read(
        cls,
        paths: Sequence[Path],
        members: NDArray[np.bool_],
        image_statistics: NDArray[np.float32],
        of_halves: bool = False,
    ) -> ShadowTable:
        """Read shadow files.

        Args:
            paths: File of each shadow set.
            members: Membership ``(N, n)``.
            image_statistics: Statistics of each image ``(n + m, s)``.
            of_halves: Whether the statistics are those of each half, which a set made from it alone ships, instead of
                those in the files: sets that are distilled together hold the statistics of all images.
        """
        parts = [_summary(path) for path in paths]
        members, of_images = members[: len(paths)], image_statistics.astype(np.float64)
        shipped = np.stack([part["statistics"] for part in parts]).astype(np.float64)
        if of_halves:
            shipped = members @ of_images[: members.shape[1]] / members.sum(1, keepdims=True)
        spaces = [name for name in parts[0] if name.startswith("distance_")]
        return cls(
            members=members,
            confidence=np.stack([part["confidence"] for part in parts]),
            student=np.stack([part["student"] for part in parts]),
            distances={name.removeprefix("distance_"): np.stack([part[name] for part in parts]) for name in spaces},
            statistics=shipped,
            image_statistics=of_images,
            origins=[part["origins"] for part in parts],
            scores=np.array([float(part["score"]) for part in parts]),
            seconds=np.stack([part["seconds"] for part in parts]),
        )

    def __len__(self) -> int:
        """Return the number of shadow sets."""
        return len(self.members)

    @property
    def started(self) -> NDArray[np.bool_]:
        """Whether an image of a set started from, or is, a training image, ``(N, n)``."""
        flags = np.zeros_like(self.members)
        for own, rows in zip(flags, self.origins, strict=True):
            own[rows] = True
        return flags

    def evidence(self, target: int) -> Evidence:
        """Return the evidence of an attack on a shadow set: the sets of all other pairs are its references.

        Its own pair is left out, so that every image is in half of the references, member of the target or not.

        Args:
            target: Number of the shadow set.
        """
        others, n = np.arange(len(self)) // 2 != target // 2, self.members.shape[1]
        return Evidence(
            confidence=self.confidence[target, :n].astype(np.float64),
            student=self.student[target, :n].astype(np.float64),
            reference_confidence=self.confidence[others, :n].astype(np.float64),
            reference_members=self.members[others],
            population=self.confidence[target, n:].astype(np.float64),
            reference_population=self.confidence[others, n:].astype(np.float64),
            distances={space: values[target, :n].astype(np.float64) for space, values in self.distances.items()},
            reference_distances={
                space: values[others, :n].astype(np.float64) for space, values in self.distances.items()
            },
            statistics=self.statistics[target],
            image_statistics=self.image_statistics[:n],
            reference_statistics=self.statistics[others],
        )

    def evidence_of_set(self, measured: Measurement, seed: int = 0) -> Evidence:
        """Return the evidence of an attack on a finished set, made from all training images.

        Candidates are all training images, members, and all held-out images, non-members. No shadow set was made from
        the latter; as many references of each are left out as of a training image, so that numbers do not tell.

        Args:
            measured: Measurements of the set.
            seed: Seed of the references that are left out.
        """
        n = self.members.shape[1]
        columns = np.random.default_rng(seed).integers(n, size=self.confidence.shape[1] - n)
        mean, first = measured.confidence.mean((0, 1)).astype(np.float64), measured.confidence[0, 0].astype(np.float64)
        return Evidence(
            confidence=mean,
            student=first,
            reference_confidence=self.confidence.astype(np.float64),
            reference_members=np.concatenate([self.members, self.members[:, columns]], 1),
            population=mean[n:],
            reference_population=self.confidence[:, n:].astype(np.float64),
            distances={space: values.astype(np.float64) for space, values in measured.distances.items()},
            reference_distances={space: values.astype(np.float64) for space, values in self.distances.items()},
            statistics=measured.statistics.astype(np.float64),
            image_statistics=self.image_statistics,
            reference_statistics=self.statistics,
            in_references=False,
        )


def _summary(path: Path) -> dict[str, NDArray]:  # type: ignore[type-arg]
    arrays = read_arrays(path)
    confidence = arrays.pop("confidence")
    kept = {name: arrays[name] for name in arrays if name not in ("images", "labels", "soft_labels")}
    return {**kept, "confidence": confidence.mean((0, 1)), "student": confidence[0, 0]}
