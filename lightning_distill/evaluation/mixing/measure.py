"""Train students on mixtures of real images and a set at several ratios, and measure the gain of each."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, product

from lightning_distill.data.checks.content import content_digest
from lightning_distill.evaluation.candidates import EvaluationData, Split
from lightning_distill.evaluation.mixing.gain import paired_gain, same_steps
from lightning_distill.evaluation.mixing.rows import MixRow, SetFile, make_row
from lightning_distill.evaluation.mixing.sampler import mix_real_and_synthetic, num_synthetic, real_counts
from lightning_distill.evaluation.overlap import OnOverlap, check_overlap
from lightning_distill.evaluation.scores import Scores
from lightning_distill.evaluation.students.evaluator import StudentEvaluator, evaluate_students
from lightning_distill.evaluation.students.protocol import get_protocol
from lightning_distill.functional.compile import CompileMode
from lightning_distill.sets.adapt import adapt_set
from lightning_distill.sets.coresets import Ratio, check_labels
from lightning_distill.sets.storage import read_set
from lightning_distill.utils.command_line import command_line
from lightning_distill.utils.hardware import Accelerator, resolve_device
from lightning_distill.utils.precision import Precision
from lightning_distill.utils.progress import ProgressCounter, ProgressReport

#: Synthetic images for each real image, by default. Ratio 0 is always measured.
RATIOS = (0.1, 1.0, 10.0)


@dataclass(frozen=True)
class Mixture:
    """One mixture to measure.

    Args:
        real: Number of real images.
        ratio: Synthetic images for each real image.
        evaluator: Evaluator of the students, with the epochs that give every ratio the same number of steps.
    """

    real: int
    ratio: float
    evaluator: StudentEvaluator

    def describe(self) -> str:
        """Describe the mixture for a progress bar."""
        return f"{self.real} real images, ratio {self.ratio:g}, {len(self.evaluator.seeds)} students"


def measure_mixtures(
    data: EvaluationData,
    synthetic_set: str | os.PathLike[str],
    *,
    real: list[int],
    ratio: list[float] | None = None,
    class_ratio: Ratio = "balanced",
    split: Split = "test",
    protocol: str = "reference",
    students: int = 5,
    network: str = "convnet",
    map_classes: dict[str, str] | None = None,
    resize: bool = False,
    seed: int = 0,
    precision: Precision = "32-true",
    accelerator: Accelerator = "auto",
    compile: CompileMode = "auto",
    on_overlap: OnOverlap = "error",
    known: Sequence[MixRow] = (),
    on_progress: ProgressReport | None = None,
    on_result: Callable[[MixRow], object] | None = None,
) -> list[MixRow]:
    """Train students on real images mixed with a set at several ratios, and measure the gain in accuracy.

    Ratio w means w images of the set for each real image. The whole set is repeated as often as it fits; the rest is a
    random class-balanced part of it. At every ratio, students take the same number of steps on the same real images
    and start from the same weights. The function prints nothing and writes no file; the command
    ``lightning-distill mix`` does both.

    Args:
        data: Real data. The real images are drawn from the training split.
        synthetic_set: Path of ``set.safetensors`` or of its folder (``--set``).
        real: Numbers of real images of all classes together: ``--real 20 100 500``.
        ratio: Numbers of set images for each real image. Default: ``[0, 0.1, 1, 10]``. Ratio 0 (no set) is always
            measured.
        class_ratio: Class ratio of the real images: ``balanced``, or ``natural`` for that of the training split.
        split: Real images that score the students: ``val`` or ``test``.
        protocol: Training protocol for the real images alone: ``reference``, ``quick`` or ``tiny`` (for tests).
        students: Number of students for each mixture, at least 2.
        network: Name of the students' network, of this package or of timm.
        map_classes: Class of the data for each class of the set, where names differ: ``'{"ill": "malignant"}'``.
        resize: Resize the set's images to the size and channels of the data.
        seed: Seed of the first student; the others count up from it.
        precision: Precision of the forward pass: ``32-true`` or ``bf16-mixed``.
        accelerator: Device: ``cpu``, ``cuda``, or ``auto`` for CUDA where it is available.
        compile: Mode of ``torch.compile``: ``auto``, ``off`` or ``max``.
        known: Rows of an earlier run. Those of the same command, set file and version are not measured again.
        on_overlap: Policy where scored images are among the training images of the set (by the hashes in its card) and
            not in the training split of ``data``: ``error`` or ``warn``.
        on_progress: Function called with the description of the current mixture, the finished epochs and all epochs.
        on_result: Function called with each row as soon as it is measured; not called for known rows.

    Returns:
        One row for each number of real images and each ratio.

    Raises:
        FileNotFoundError: The set file does not exist.
        ValueError: The set does not fit the data or was trained on scored images, a ratio is negative, or there are
            too few real images.
    """
    command = command_line(measure_mixtures, locals(), name="mix")
    ratios = sorted({0.0, *(RATIOS if ratio is None else ratio)})
    _check(real, ratios, students)
    training, device = get_protocol(protocol), resolve_device(accelerator)
    arrays, spec = data.train_arrays(), data.spec
    check_labels(arrays[1])
    counts = {number: real_counts(arrays[1], number, class_ratio, spec) for number in real}
    synthetic, card = read_set(synthetic_set)
    check_overlap(card, data, split, on_overlap)
    synthetic = adapt_set(synthetic, spec, map_classes, resize)
    set_file = SetFile.from_card(card, len(synthetic.labels))
    mixtures = []
    for number, share in product(counts, ratios):
        own = same_steps(training, number, number + num_synthetic(number, share))
        evaluator = StudentEvaluator(own, students=students, architectures=[network], seed=seed, compile=compile)
        mixtures.append(Mixture(number, share, evaluator))
    batches = data.val_dataloader() if split == "val" else data.test_dataloader()
    data_sha256 = content_digest(chain([arrays], ((x.numpy(), y.numpy()) for x, y in batches)))[:12]
    kept = {(row.real, row.ratio): row for row in known if set_file.made(row, command, data_sha256)}
    progress = ProgressCounter(on_progress, sum(mixture.evaluator.epochs for mixture in mixtures))
    rows: list[MixRow] = []
    without_set = Scores()
    for mixture in mixtures:
        progress.start(mixture.describe())
        row = kept.get((mixture.real, mixture.ratio))
        if row is not None:
            scores = row.scores(mixture.evaluator)
            progress.advance(mixture.evaluator.epochs)
        else:
            sampler = mix_real_and_synthetic(arrays, counts[mixture.real], synthetic, mixture.ratio, spec, seed)
            bf16 = precision == "bf16-mixed"
            scores = evaluate_students(
                mixture.evaluator, sampler, batches, device=device, bf16=bf16, on_epoch=progress.advance
            )
        if mixture.ratio == 0:
            without_set = scores
        if row is None:
            row = make_row(
                spec,
                set_file,
                mixture.real,
                mixture.ratio,
                split=split,
                evaluator=mixture.evaluator,
                scores=scores,
                gain=paired_gain(scores, without_set),
                precision=precision,
                command=command,
                data_sha256=data_sha256,
            )
            if on_result is not None:
                on_result(row)
        rows.append(row)
    return rows


def _check(real: Sequence[int], ratios: Sequence[float], students: int) -> None:
    """Raise ValueError for arguments that are wrong without any data."""
    if students < 2:
        raise ValueError(f"students={students}; an interval needs at least 2")
    if not real:
        raise ValueError("real=[]; give at least one number of real images, such as --real 20 100 500")
    for ratio in ratios:
        num_synthetic(1, ratio)
