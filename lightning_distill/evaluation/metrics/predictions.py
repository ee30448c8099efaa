"""What students said of real images, kept whole: every score, interval and figure is computed from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lightning_distill.evaluation.metrics.classification import class_probabilities
from lightning_distill.spec import DataSpec

CARD = "predictions"
_TINY = 1e-12  # a mean probability below it counts as it: logits are finite


@dataclass(frozen=True)
class Predictions:
    """What several students said of the same real images.

    Args:
        logits: ``(S, N, K)`` float32; S students, N images, K classes. Zeros of a student that diverged.
        targets: ``(N,)`` int64, or ``(N, K)`` 0/1 for multi-label.
        spec: task and class names.
        seeds: of the S students.
        architectures: of the S students.
        groups: ``(N,)`` int64; images of one patient or lesion have one number. ``None`` where unknown.
        split: the images' own, ``val`` or ``test``.

    Raises:
        ValueError: shapes that do not belong together.
    """

    logits: Tensor
    targets: Tensor
    spec: DataSpec
    seeds: Sequence[int]
    architectures: Sequence[str]
    groups: Tensor | None = None
    split: str = "test"

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
        """``(S, N, K)`` float32: softmax over classes, or for multi-label a sigmoid of each."""
        return class_probabilities(self.logits, self.spec)

    def with_temperatures(self, temperatures: Sequence[float]) -> Predictions:
        """The same with the logits of student s divided by its temperature; see `calibration.temperature`.

        Raises:
            ValueError: not one positive number a student.
        """
        if len(temperatures) != len(self.logits) or not all(0 < value < float("inf") for value in temperatures):
            given = ", ".join(map(str, temperatures))
            raise ValueError(f"temperatures {given} of {len(self.logits)} students; give one positive number each")
        return replace(self, logits=self.logits / torch.tensor(temperatures, dtype=torch.float32).view(-1, 1, 1))

    def by_group(self) -> Predictions:
        """One prediction a group: the mean probability over its images, as for a volume that was cut into slices.

        Returns:
            ``(S, G, K)`` logits whose probabilities are these means, groups in ascending order, each of one row now.

        Raises:
            ValueError: the groups are not known, or images of one of them have different labels.
        """
        if self.groups is None:
            raise ValueError(f"the groups of {len(self.targets)} images are not known; score them as single images")
        numbers, place = self.groups.unique(return_inverse=True)  # (G,), (N,)
        targets = torch.empty((len(numbers), *self.targets.shape[1:]), dtype=self.targets.dtype)
        targets[place] = self.targets
        if torn := int((targets[place] != self.targets).reshape(len(place), -1).any(1).sum()):
            raise ValueError(f"{torn} images have another label than their group; score such images one by one")
        shape = (len(self.logits), len(numbers), self.spec.num_classes)
        sums = torch.zeros(shape, dtype=torch.float64).index_add_(1, place, self.probabilities.double())
        mean = sums / place.bincount().view(1, -1, 1)
        logits = torch.logit(mean, eps=_TINY) if self.spec.multi_label else mean.clamp_min(_TINY).log()
        return replace(self, logits=logits.float(), targets=targets, groups=numbers)

    def write(self, path: str | Path) -> Path:
        """Write one safetensors file; an older one survives any failure.

        Raises:
            OSError: the folder cannot be written, or the disk is full.
        """
        from lightning_distill.sets.storage import write_files_atomically  # it knows sets, and so this folder

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
        }
        contents = save(
            {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, {CARD: json.dumps(about)}
        )
        write_files_atomically({path: contents})
        return path

    @classmethod
    def read(cls, path: str | Path) -> Predictions:
        """Read what `write` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: not a file of predictions, or shapes that do not belong together.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(
                f"no file of predictions {path.name!r} in {path.parent}; evaluate --predictions FOLDER makes them"
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
            )
        except (SafetensorError, KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{path.name} is not a file of predictions: {error}; write it again") from error
