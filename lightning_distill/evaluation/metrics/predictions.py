"""Logits of all students on the evaluation images. Scores, intervals and figures are derived from them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lightning_distill.evaluation.metrics.classification import class_probabilities
from lightning_distill.spec import DataSpec
from lightning_distill.utils.atomic_files import write_files_atomically

CARD = "predictions"
_TINY = 1e-12  # lower limit of mean probabilities, so that logits stay finite


@dataclass(frozen=True)
class Predictions:
    """Predictions of several students on the same real images.

    Args:
        logits: Logits ``(S, N, K)`` float32 of S students, N images, K classes. Zeros for a diverged student.
        targets: Labels ``(N,)`` int64, or 0/1 rows ``(N, K)`` for multi-label data.
        spec: Task and class names.
        seeds: Seed of each student.
        architectures: Network name of each student.
        groups: Group numbers ``(N,)`` int64, equal for images of one patient or lesion. ``None`` if unknown.
        split: Split of the images, ``val`` or ``test``.
        trained_on: Number of these images that the set was trained on, as far as its card tells; 0 in a sound study.

    Raises:
        ValueError: Shapes do not match.

    Example:
        >>> spec = DataSpec("demo", (1, 8, 8), ("a", "b"), mean=(0.0,), std=(1.0,))
        >>> predictions = Predictions(torch.zeros(1, 3, 2), torch.tensor([0, 1, 1]), spec, [0], ["convnet"])
        >>> predictions.probabilities.shape
        torch.Size([1, 3, 2])
    """

    logits: Tensor
    targets: Tensor
    spec: DataSpec
    seeds: Sequence[int]
    architectures: Sequence[str]
    groups: Tensor | None = None
    split: str = "test"
    trained_on: int = 0

    def __post_init__(self) -> None:
        classes = self.spec.num_classes
        if self.logits.ndim != 3 or self.logits.shape[2] != classes:
            raise ValueError(f"logits are {tuple(self.logits.shape)}, expected (students, images, {classes})")
        students, images, _ = self.logits.shape
        expected = (images, classes) if self.spec.task == "multi-label" else (images,)
        if self.targets.shape != expected:
            raise ValueError(f"targets of {images} images are {tuple(self.targets.shape)}, expected {expected}")
        if self.groups is not None and self.groups.shape != (images,):
            raise ValueError(f"groups of {images} images are {tuple(self.groups.shape)}, expected ({images},)")
        if (len(self.seeds), len(self.architectures)) != (students, students):
            found = f"{len(self.seeds)} seeds and {len(self.architectures)} architectures"
            raise ValueError(f"{students} students with {found}; give one of each a student")

    @property
    def probabilities(self) -> Tensor:
        """Class probabilities ``(S, N, K)`` float32: softmax, or sigmoid for multi-label data."""
        return class_probabilities(self.logits, self.spec)

    def with_temperatures(self, temperatures: Sequence[float]) -> Predictions:
        """Divide the logits of each student by its temperature, see `calibration.temperature`.

        Raises:
            ValueError: There is not one positive temperature per student.
        """
        if len(temperatures) != len(self.logits) or not all(0 < value < float("inf") for value in temperatures):
            given = ", ".join(map(str, temperatures))
            raise ValueError(f"temperatures {given} for {len(self.logits)} students; give one per student")
        return replace(self, logits=self.logits / torch.tensor(temperatures, dtype=torch.float32).view(-1, 1, 1))

    def by_group(self) -> Predictions:
        """Average the probabilities over the images of each group, e.g. the slices of a volume.

        Returns:
            Predictions with logits ``(S, G, K)`` of the mean probabilities, groups in ascending order.

        Raises:
            ValueError: The groups are unknown, or images of one group have different labels.
        """
        if self.groups is None:
            raise ValueError(f"the groups of {len(self.targets)} images are unknown; leave out --by_group")
        numbers, place = self.groups.unique(return_inverse=True)  # (G,), (N,)
        targets = torch.empty((len(numbers), *self.targets.shape[1:]), dtype=self.targets.dtype)
        targets[place] = self.targets
        if torn := int((targets[place] != self.targets).reshape(len(place), -1).any(1).sum()):
            raise ValueError(f"{torn} images have a different label than their group; leave out --by_group")
        shape = (len(self.logits), len(numbers), self.spec.num_classes)
        sums = torch.zeros(shape, dtype=torch.float64).index_add_(1, place, self.probabilities.double())
        mean = sums / place.bincount().view(1, -1, 1)
        logits = torch.logit(mean, eps=_TINY) if self.spec.multi_label else mean.clamp_min(_TINY).log()
        return replace(self, logits=logits.float(), targets=targets, groups=numbers)

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write one safetensors file; on failure an older file is kept.

        Raises:
            OSError: The folder cannot be written, or the disk is full.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {"logits": self.logits.float().cpu(), "targets": self.targets.long().cpu()}
        if self.groups is not None:
            tensors["groups"] = self.groups.long().cpu()
        about = {
            "spec": self.spec.to_dict(),
            "seeds": list(self.seeds),
            "architectures": list(self.architectures),
            "split": self.split,
            "trained_on": self.trained_on,
        }
        contents = save(
            {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, {CARD: json.dumps(about)}
        )
        write_files_atomically({path: contents})
        return path

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Predictions:
        """Read a file written by `write`.

        Raises:
            FileNotFoundError: The file does not exist.
            ValueError: The file holds no predictions, or shapes do not match.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(
                f"no predictions file {path.name!r} in {path.parent}; create it with evaluate --predictions FOLDER"
            )
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                if CARD not in metadata:
                    raise ValueError(f"its metadata hold no {CARD!r}")
                about = json.loads(metadata[CARD])
                tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return cls(
                logits=tensors["logits"],
                targets=tensors["targets"],
                spec=DataSpec.from_dict(about["spec"]),
                seeds=about["seeds"],
                architectures=about["architectures"],
                groups=tensors.get("groups"),
                split=about["split"],
                trained_on=int(about.get("trained_on", 0)),
            )
        except (SafetensorError, KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(
                f"{path.name} is not a predictions file: {error}; run evaluate --predictions again"
            ) from error
