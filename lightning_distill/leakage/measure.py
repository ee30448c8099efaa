"""Measurements of a set that attacks use: confidences of students, distances to its images, shipped statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_distill.audit.similarity import flat_unit_vectors
from lightning_distill.data.checks.arrays import Array
from lightning_distill.evaluation.copies.embedding import ContrastiveEmbedding
from lightning_distill.evaluation.students.protocol import Protocol, get_protocol
from lightning_distill.evaluation.students.trainer import Student, StudentTrainer
from lightning_distill.leakage.confidence import QUERIES, label_log_odds
from lightning_distill.leakage.members import Members
from lightning_distill.leakage.recipes import MadeSet
from lightning_distill.sets.formation import reduced
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.spec import DataSpec
from lightning_distill.utils.progress import ProgressCallback

Floats = NDArray[np.float32]
#: Number of real images that are held at once.
CHUNK = 1024
#: Most epochs of students of all real images: longer ones take longer than all other shadows together.
FULL_EPOCHS = 40


@dataclass(frozen=True)
class Measurement:
    """Measurements of one set on n training images, then m held-out images.

    Args:
        confidence: Log-odds of the true label, ``(students, queries, n + m)``.
        distances: Distance of each image to the nearest image of the set of its class, ``(n + m,)``, by space.
        statistics: Mean and mean square of each channel that the set ships, ``(2 C,)``, in the units of the data.
        score: Balanced accuracy of the students on the held-out images; exact matches for multi-label data.
    """

    confidence: Floats
    distances: dict[str, Floats]
    statistics: Floats
    score: float


class Measurer:
    """Train students on sets, several sets together where the device allows, and measure what attacks use.

    All sets are measured by students of the same seeds: the initial weights do not add to the differences.

    Args:
        members: Candidates and held-out images.
        network: Network of the students.
        protocol: Training protocol of the students.
        students: Number of students of a set.
        queries: Number of views of each image, see `confidence.QUERIES`.
        embedding: Embedding for distances; ``None`` leaves them out.
        device: Device of the students.
    """

    def __init__(
        self,
        members: Members,
        *,
        network: str = "convnet_w32",
        protocol: str | Protocol = "quick",
        students: int = 1,
        queries: int = 2,
        embedding: ContrastiveEmbedding | None = None,
        device: str = "cpu",
    ) -> None:
        self.members, self.network, self.protocol = members, network, get_protocol(protocol)
        self.students, self.queries, self.embedding, self.device = students, queries, embedding, device
        self._unit = replace(members.spec, mean=(0.0,) * members.spec.shape[0], std=(1.0,) * members.spec.shape[0])
        self._trainers: dict[tuple[int, Protocol], StudentTrainer] = {}
        self._embedded: dict[tuple[int, int, int], Floats] = {}

    def measure(
        self, sets: Sequence[MadeSet], ships_images: bool = True, on_epoch: ProgressCallback = lambda: None
    ) -> list[Measurement]:
        """Measure several sets of one recipe.

        Args:
            sets: Sets with the mean and standard deviation that they ship.
            ships_images: Whether distances to the images of the sets are measured.
            on_epoch: Function that is called after every epoch of every student.
        """
        data = [made.data.decode() for made in sets]
        trained = self._train(data, ships_images, on_epoch)
        return [
            self._measure(made.data, own, students, ships_images)
            for made, own, students in zip(sets, data, trained, strict=True)
        ]

    def on(self, members: Members) -> Measurer:
        """Return a measurer with the same students for other candidates.

        Args:
            members: Other candidates and held-out images of the same data.
        """
        return Measurer(
            members,
            network=self.network,
            protocol=self.protocol,
            students=self.students,
            queries=self.queries,
            embedding=self.embedding,
            device=self.device,
        )

    def epochs(self, images: int, ships_images: bool) -> int:
        """Return the epochs of all students of one set: the number of calls of ``on_epoch``.

        Args:
            images: Number of images of the set.
            ships_images: Whether the set is no full data set.
        """
        return self.students * (self._protocol(images, ships_images).epochs + 1)

    def _protocol(self, images: int, ships_images: bool) -> Protocol:
        if ships_images:
            return self.protocol
        shortened = self.protocol.for_real_data(images)
        return replace(shortened, epochs=min(shortened.epochs, FULL_EPOCHS))

    def _train(self, data: Sequence[LabeledSet], ships_images: bool, on_epoch: ProgressCallback) -> list[list[Student]]:
        """Train the students of all sets; their images are normalised before, each by its own statistics."""
        normalised = [replace(own, pixels=own.spec.normalize(own.pixels[:]), spec=self._unit) for own in data]
        images = len(data[0].labels)
        protocol = self._protocol(images, ships_images)
        key = (images, protocol)
        if key not in self._trainers:
            self._trainers[key] = StudentTrainer(
                self.network,
                self._unit,
                protocol=protocol,
                images=images,
                students=self.students,
                device=self.device,
                compile="off",
            )
        seeds = list(range(self.students))
        trained = self._trainers[key].fit_many(
            [own for own in normalised for _ in seeds], seeds * len(data), on_epoch=on_epoch
        )
        return [trained[i * self.students : (i + 1) * self.students] for i in range(len(data))]

    def _measure(
        self, stored: LabeledSet, data: LabeledSet, students: Sequence[Student], ships_images: bool
    ) -> Measurement:
        members = self.members
        train, _ = self._confidences(students, members.images, members.labels, data.spec)
        held, correct = self._confidences(students, members.held_images, members.held_labels, data.spec)
        distances = self._distances(stored, data) if ships_images else {}
        mean, std = np.array(data.spec.mean), np.array(data.spec.std)
        statistics = np.concatenate([mean, std**2 + mean**2]).astype(np.float32)
        return Measurement(
            np.concatenate([train, held], 2), distances, statistics, _balanced(correct, members.held_labels)
        )

    def _confidences(
        self, students: Sequence[Student], images: Array, labels: NDArray[np.int64], spec: DataSpec
    ) -> tuple[Floats, Floats]:
        """Return log-odds ``(students, queries, n)``, and the share of students that predict each label, ``(n,)``."""
        result = np.empty((len(students), self.queries, len(labels)), np.float32)
        correct = np.zeros(len(labels), np.float32)
        for start in range(0, len(labels), CHUNK):
            rows = slice(start, start + CHUNK)
            x = spec.normalize(torch.from_numpy(np.ascontiguousarray(images[rows])).to(self.device))
            y = torch.from_numpy(np.ascontiguousarray(labels[rows])).to(self.device)
            for s, student in enumerate(students):
                for q, query in enumerate(QUERIES[: self.queries]):
                    logits = student.predict(query(x))
                    result[s, q, rows] = label_log_odds(logits, y).cpu().numpy()
                    if q == 0:
                        right = ((logits > 0) == y).all(1) if y.ndim == 2 else logits.argmax(1) == y
                        correct[rows] += right.cpu().numpy() / len(students)
        return result, correct

    def _distances(self, stored: LabeledSet, data: LabeledSet) -> dict[str, Floats]:
        """Return distances in pixels, in standard deviations, and one minus correlation of pixels and embeddings."""
        spec, members, formation = self.members.spec, self.members, stored.formation
        pixels = spec.normalize(data.pixels).flatten(1).to(self.device)
        labels = data.labels.numpy()
        embedded = None if self.embedding is None else torch.from_numpy(self.embedding(data.pixels.float()))
        unit = torch.from_numpy(flat_unit_vectors(data.pixels.float()))
        result: dict[str, list[Floats]] = {"pixels": [], "correlation": [], "embedding": []}
        for split, (images, own_labels) in enumerate(
            ((members.images, members.strata), (members.held_images, members.held_labels))
        ):
            wanted = own_labels if own_labels.ndim == 1 and not spec.multi_label else None
            for start in range(0, len(images), CHUNK):
                rows = slice(start, start + CHUNK)
                part = torch.from_numpy(np.ascontiguousarray(images[rows]))
                same = _same_class(None if wanted is None else wanted[rows], labels, len(part))
                shown = reduced(part, formation)
                x = spec.normalize(shown).flatten(1).to(self.device)
                near = torch.cdist(x, pixels).cpu().masked_fill(~same, torch.inf).min(1).values
                result["pixels"].append(near.numpy() / np.sqrt(x.shape[1]))
                unlike = 1 - torch.from_numpy(flat_unit_vectors(shown)) @ unit.T
                result["correlation"].append(unlike.masked_fill(~same, torch.inf).min(1).values.numpy())
                if embedded is not None:
                    real = torch.from_numpy(self._embed(part, formation, (split, start)))
                    far = (1 - real @ embedded.T).masked_fill(~same, torch.inf)
                    result["embedding"].append(far.min(1).values.numpy())
        return {space: np.concatenate(values).astype(np.float32) for space, values in result.items() if values}

    def _embed(self, part: Tensor, formation: int, place: tuple[int, int]) -> Floats:
        """Return embeddings of real images; they are kept, for all sets of a formation."""
        key = (formation, *place)
        if key not in self._embedded:
            assert self.embedding is not None
            self._embedded[key] = self.embedding(reduced(part, formation))
        return self._embedded[key]


def image_statistics(members: Members) -> Floats:
    """Return mean and mean square of each channel of the training and held-out images, ``(n + m, 2 C)``.

    Args:
        members: Candidates and held-out images.
    """
    parts = []
    for images in (members.images, members.held_images):
        for start in range(0, len(images), CHUNK):
            pixels = np.asarray(images[start : start + CHUNK]).astype(np.float32)
            parts.append(np.concatenate([pixels.mean((2, 3)), np.square(pixels).mean((2, 3))], 1))
    return np.concatenate(parts)


def _same_class(wanted: NDArray[np.int64] | None, labels: NDArray[np.int64], count: int) -> Tensor:
    """Return pairs of real images and images of the set of one class, ``(count, M)``; all pairs where none is."""
    if wanted is None:
        return torch.ones(count, len(labels), dtype=torch.bool)
    same = torch.from_numpy(wanted[:, None] == labels[None, :])
    same[~same.any(1)] = True
    return same


def _balanced(correct: Floats, labels: NDArray[np.int64]) -> float:
    if labels.ndim == 2:
        return float(correct.mean())
    return float(np.mean([correct[labels == label].mean() for label in np.unique(labels)]))
