"""``MixRow``: the result of one mixture, and its columns in a CSV file."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from lightning_distill._version import __version__
from lightning_distill.evaluation.metrics.intervals import Estimate
from lightning_distill.evaluation.mixing.sampler import num_synthetic
from lightning_distill.evaluation.scores import Scores
from lightning_distill.evaluation.students.evaluator import StudentEvaluator
from lightning_distill.spec import DataSpec
from lightning_distill.utils.hardware import machine_description
from lightning_distill.utils.precision import Precision


@dataclass(frozen=True)
class MixRow:
    """Scores of students trained on ``real`` real images and ``synthetic`` images of the set, as fractions.

    ``gain`` is the paired difference in accuracy to the real images alone. ``accs`` lists the accuracy of each student
    in the order of their seeds. ``sha256`` holds the first digits of the set file's checksum, ``data_sha256`` those of
    the real training images and of the images that scored.
    """

    dataset: str
    source: str
    set: str
    sha256: str
    set_images: int
    real: int
    ratio: float
    synthetic: int
    split: str
    network: str
    protocol: str
    epochs: int
    students: int
    seeds: str
    acc: float
    acc_std: float
    acc_ci95_half_width: float
    accs: str
    balanced_acc: float
    auroc: float
    gain: float
    gain_low: float
    gain_high: float
    seconds: float
    machine: str
    precision: str
    torch: str
    lightning_distill: str
    date: str
    command: str
    data_sha256: str

    @property
    def estimated_gain(self) -> Estimate:
        """Paired gain with its 95 % interval over students."""
        return Estimate(self.gain, math.nan, self.gain_low, self.gain_high, 0.95, self.students, "students")

    def scores(self, evaluator: StudentEvaluator) -> Scores:
        """Restore the accuracies of the students, without their other metrics.

        Args:
            evaluator: Evaluator of the mixture, with the seeds of the students.
        """
        accs = [{"acc": float(value)} for value in self.accs.split()]
        return Scores(accs, list(evaluator.seeds), evaluator.architectures * len(accs))


@dataclass(frozen=True)
class SetFile:
    """Identity of the mixed set file.

    Args:
        name: Method in the card of the set.
        sha256: First digits of the checksum of the set file.
        images: Number of images in the set.
    """

    name: str
    sha256: str
    images: int

    @classmethod
    def from_card(cls, card: Mapping[str, object], images: int) -> SetFile:
        """Read the identity from a card.

        Args:
            card: Card of the set file.
            images: Number of images in the set.
        """
        return cls(str(card.get("method", "set")), str(card.get("sha256", ""))[:12], images)

    def made(self, row: MixRow, command: str, data_sha256: str) -> bool:
        """Return whether a row was measured with this set file and these data, by the same command and version."""
        key = (row.command, row.lightning_distill, row.set, row.sha256, row.set_images, row.data_sha256)
        return key == (command, __version__, self.name, self.sha256, self.images, data_sha256)


def make_row(
    spec: DataSpec,
    set_file: SetFile,
    real: int,
    ratio: float,
    *,
    split: str,
    evaluator: StudentEvaluator,
    scores: Scores,
    gain: Estimate,
    precision: Precision,
    command: str,
    data_sha256: str,
) -> MixRow:
    """Return the row of one mixture.

    Args:
        spec: Specification of the real data.
        set_file: Identity of the set file.
        real: Number of real images.
        ratio: Synthetic images for each real image.
        split: Split that scored the students.
        evaluator: Evaluator of the mixture.
        scores: Scores of the students.
        gain: Paired gain in accuracy over the real images alone.
        precision: Precision of the forward pass.
        command: Command that reproduces the row.
        data_sha256: First digits of the hash of the data.
    """
    measured = {
        "acc": scores.mean("acc"),
        "acc_std": scores.std("acc"),
        "acc_ci95_half_width": scores.half_interval("acc"),
        "balanced_acc": scores.mean("balanced_acc"),
        "auroc": scores.mean("auroc"),
        "gain": gain.mean,
        "gain_low": gain.low,
        "gain_high": gain.high,
    }
    return MixRow(
        dataset=spec.name,
        source=spec.source,
        set=set_file.name,
        sha256=set_file.sha256,
        set_images=set_file.images,
        real=real,
        ratio=ratio,
        synthetic=num_synthetic(real, ratio),
        split=split,
        network=evaluator.architectures[0],
        protocol=evaluator.protocol.name,
        epochs=evaluator.protocol.epochs + 1,
        students=len(scores.students),
        seeds=f"{evaluator.seeds[0]}-{evaluator.seeds[-1]}",
        accs=" ".join(f"{value:.5f}" for value in scores.values("acc")),
        **{name: round(value, 5) for name, value in measured.items()},
        seconds=round(scores.seconds, 1),
        machine=machine_description(),
        precision=precision,
        torch=torch.__version__,
        lightning_distill=__version__,
        date=datetime.date.today().isoformat(),
        command=command,
        data_sha256=data_sha256,
    )
