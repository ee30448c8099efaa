"""Score a synthetic set and its baselines on real data."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, overload

import numpy as np

from lightning_distill._renamed import with_renamed_arguments
from lightning_distill.evaluation.candidate_runner import CandidateRunner, StartCallback
from lightning_distill.evaluation.candidates import (
    EvaluationData,
    Split,
    adapt_candidate,
    baseline_candidate,
    evaluation_split,
    with_target_priors,
)
from lightning_distill.evaluation.features import embed_features, embedding_epochs
from lightning_distill.evaluation.label_prior import Prior
from lightning_distill.evaluation.labels import FULL_BASELINES
from lightning_distill.evaluation.metrics.relative import bytes_of_arrays
from lightning_distill.evaluation.overlap import OnOverlap, check_overlap
from lightning_distill.evaluation.result import Candidate, EvaluationResult
from lightning_distill.evaluation.result_table import ResultRow, make_rows
from lightning_distill.evaluation.soft_candidates import EvaluationLabels, label_coresets, prior_of_card, set_candidates
from lightning_distill.evaluation.students.evaluator import StudentEvaluator
from lightning_distill.evaluation.students.protocol import get_protocol
from lightning_distill.functional.compile import CompileMode
from lightning_distill.networks.pretrained import weights_digests
from lightning_distill.sets.coresets import METHODS, Space
from lightning_distill.sets.storage import read_set
from lightning_distill.sets.synthetic import SmallClass, images_per_class
from lightning_distill.utils.arguments import check_choices
from lightning_distill.utils.command_line import command_line
from lightning_distill.utils.hardware import Accelerator, resolve_device
from lightning_distill.utils.precision import Precision

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped,import-not-found,unused-ignore]


@dataclass(frozen=True, eq=False)
class EvaluationResults(Sequence[ResultRow]):
    """Rows of an evaluation: baselines first, then the set.

    Args:
        rows: Rows in the order of measurement. With several architectures each candidate has one row for each of them,
            followed by one row for all.
        results: Scores and predictions of each candidate.

    Example:
        >>> len(EvaluationResults((), ()))
        0
    """

    rows: tuple[ResultRow, ...]
    results: tuple[EvaluationResult, ...]

    @overload
    def __getitem__(self, index: int) -> ResultRow: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[ResultRow]: ...

    def __getitem__(self, index: int | slice) -> ResultRow | Sequence[ResultRow]:
        """Return a row, or several for a slice."""
        return self.rows[index]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def to_frame(self) -> pandas.DataFrame:
        """Return the rows as a pandas DataFrame with one column for each field of `ResultRow`.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_frame needs pandas; install it with `pip install pandas`") from error
        return pandas.DataFrame([asdict(row) for row in self.rows])


@with_renamed_arguments
def evaluate(
    synthetic_set: str | os.PathLike[str] | None = None,
    data: EvaluationData | None = None,
    *,
    protocol: str = "reference",
    baselines: list[str] | None = None,
    ipc: int | list[int] | None = None,
    split: Split = "test",
    test_data: EvaluationData | None = None,
    map_classes: dict[str, str] | None = None,
    resize: bool = False,
    augmentation: str | None = None,
    students: int = 5,
    architectures: list[str] | None = None,
    weights: dict[str, str] | None = None,
    seed: int = 0,
    space: Space = "pixels",
    ars: bool = False,
    prior_correction: bool = False,
    labels: EvaluationLabels | None = None,
    teachers: int | str = 3,
    prior: Prior | None = None,
    distillation_seconds: float | None = None,
    precision: Precision = "32-true",
    accelerator: Accelerator = "auto",
    compile: CompileMode = "auto",
    on_small_class: SmallClass = "error",
    on_overlap: OnOverlap = "error",
    on_start: StartCallback | None = None,
    on_result: Callable[[EvaluationResult, list[ResultRow]], object] | None = None,
) -> EvaluationResults:
    """Train new students on a set and on its baselines, and score them on real data.

    Probabilities are calibrated on the validation split. No choice is made on the test split. The function prints
    nothing and writes no file; the command ``lightning-distill evaluate`` does both.

    Args:
        synthetic_set: Path of ``set.safetensors`` or of its folder (``--set`` on the command line). Without a set,
            ``ipc`` gives the size of the baselines.
        data: Real data: ``--data MedMNISTDataModule --data.name breastmnist``.
        protocol: Training protocol of the students: ``reference``, ``quick`` or ``tiny`` (for tests); for networks with
            weights also ``probe`` (a linear layer on the frozen network) and ``finetune`` (all weights).
        baselines: Any of ``random``, ``herding``, ``kcenter``, ``kmeans`` (as many real images as the set has),
            ``full`` (all real images), ``full_weighted`` (all, with class weights) and ``full_balanced`` (each class
            reduced to the size of the rarest). Default: none.
        ipc: Images per class of the baselines where no set is given.
        split: Real images that score the students: ``val`` or ``test``. Use ``val`` to choose, ``test`` once.
        test_data: Data of another site that score the students. The baselines are still taken from ``data``. Without
            ``data``, the test images alone score a set: a folder with ``test`` or class folders only is enough;
            probabilities are then not calibrated.
        map_classes: Class of the scored data for each class of the set, where names or order differ.
        resize: Resize the set's images to the size and channels of the scored data.
        augmentation: Augmentation preset for the students, see `augmentation.presets.PRESETS`. Default: that of the
            set.
        students: Number of students of each architecture. Each has its own random subset as baseline.
        architectures: Names of networks of this package or of timm. Default: ``convnet``. The first of several is the
            matched one.
        weights: Path of a local weights file (safetensors, or a torch checkpoint without pickled objects) for each
            timm model of ``architectures`` that is pretrained: ``{"resnet18": "resnet18.safetensors"}``. An
            architecture ``resnet18:112`` resizes images to 112 px. Results record the sha256 of the file, not its path.
        seed: Seed of the first student; the others count up from it.
        space: Space of the distances of herding, k-center and k-means: ``pixels``, or ``embedding`` of the first
            architecture, trained on the real data unless it has weights.
        ars: Also train without augmentation, for the augmentation-robust score of DD-Ranking.
        prior_correction: Shift the students' logits to the class frequencies of the real training data.
        labels: Labels that students are trained on: ``hard`` (soft labels of the file are ignored), ``soft`` (the set
            needs them, and coresets get them from teachers), or ``both``, one row each. Default: soft labels if the
            file has them, and hard labels for the baselines. Baselines of all real data have hard labels.
        teachers: Teachers of the coresets' soft labels: a number to train, with the first network and the protocol of
            the students, or a file written by ``relabel --save_teachers``.
        prior: Class frequencies of the coresets' soft labels: ``natural`` or ``balanced``. Default: that of the set, or
            ``natural``.
        distillation_seconds: Duration of the distillation, for the number of trainings after which it pays off.
        precision: Precision of the students' forward pass: ``32-true`` or ``bf16-mixed``.
        accelerator: Device: ``cpu``, ``cuda``, or ``auto`` for CUDA where it is available.
        compile: Mode of ``torch.compile``: ``auto``, ``off`` or ``max``.
        on_small_class: Policy for baselines where a class has fewer images than the set: ``error``, ``fewer`` or
            ``repeat``.
        on_overlap: Policy where scored images are among the training images of the set (by the hashes in its card) and
            not in the training split of ``data``: ``error`` or ``warn``.
        on_start: Function called before each training with its description and number of epochs. It returns a function
            that is called after each epoch.
        on_result: Function called with the result and the rows of each candidate as soon as they are measured.

    Returns:
        Rows of all candidates, with their predictions in ``results``.

    Raises:
        ValueError: A baseline is unknown, the set does not fit the data, neither or both of ``synthetic_set`` and
            ``ipc`` are given, scored images were trained on, ``labels`` asks for soft labels that the set does not
            have, a weights file does not fit its model, or ``prior_correction`` is combined with multi-label data or
            ``map_classes``.
        FileNotFoundError: The set file or a weights file does not exist.

    Example:
        >>> from lightning_distill import DigitsDataModule, evaluate
        >>> results = evaluate("runs/digits/best", DigitsDataModule(), protocol="quick")  # doctest: +SKIP
        >>> results.to_frame()  # doctest: +SKIP
    """
    arguments, baselines = {**locals()}, baselines or []
    check_choices(evaluate, arguments)
    if data is None and test_data is None:
        raise ValueError(
            "no data: --data MedMNISTDataModule --data.name breastmnist, or any other data module; test images alone "
            "as --test_data"
        )
    _check(synthetic_set, ipc, baselines, students)
    alone = data is None
    if test_data is not None and alone:
        _check_test_images_alone(synthetic_set, baselines, split, prior_correction)
        data = test_data = test_data.test_images()
    assert data is not None
    if prior_correction:
        _check_prior_correction(data, map_classes)
    on_start = on_start or (lambda text, epochs: lambda: None)
    training = replace(get_protocol(protocol), augmentation=augmentation)
    evaluator = StudentEvaluator(
        training,
        students=students,
        architectures=["convnet"] if architectures is None else architectures,
        seed=seed,
        compile=compile,
        weights=weights,
    )
    digests = weights_digests(evaluator.architectures, weights) if weights else None
    command = command_line(evaluate, {**arguments, "weights": digests})
    device, bf16, scored = resolve_device(accelerator), precision == "bf16-mixed", test_data or data
    distilled: list[Candidate] = []
    trained_on = 0
    if synthetic_set is not None:
        distilled = set_candidates(synthetic_set, scored.spec, evaluator, labels, map_classes, resize)
        _, card = read_set(synthetic_set)
        prior = prior or prior_of_card(card)
        trained_on = check_overlap(card, scored, split, on_overlap)
    counts = (distilled[0].counts if distilled else None) or images_per_class(ipc or 1, data.spec)
    features = None
    if space == "embedding" and any(name in METHODS and name != "random" for name in baselines):
        real, network = data.train_arrays(), evaluator.architectures[0]
        on_epoch = on_start("feature network", embedding_epochs(training, len(real[1]), network))
        features = embed_features(
            real,
            data.spec,
            network=network,
            protocol=training,
            seed=seed,
            device=device,
            bf16=bf16,
            compile=compile,
            on_epoch=on_epoch,
        )
    candidates = [baseline_candidate(name, data, counts, evaluator, on_small_class, features) for name in baselines]
    candidates = label_coresets(
        candidates,
        data,
        labels,
        teachers,
        prior or "natural",
        on_start=on_start,
        network=evaluator.architectures[0],
        protocol=training,
        seed=seed,
        device=device,
        bf16=bf16,
        compile=compile,
    )
    if test_data is not None:
        candidates = [adapt_candidate(candidate, scored.spec, map_classes, resize) for candidate in candidates]
    candidates += distilled
    if prior_correction:
        candidates = with_target_priors(candidates, data)
    runner = CandidateRunner(
        evaluation_split(scored, split),
        device,
        bf16=bf16,
        on_start=on_start,
        ars=ars,
        real_bytes=np.nan if alone else float(bytes_of_arrays(*data.all_train_arrays())),
        distillation_seconds=distillation_seconds or np.nan,
        trained_on=trained_on,
    )
    rows: list[ResultRow] = []
    for candidate in candidates:
        result, relative = runner.run(candidate)
        new = make_rows(result, relative, scored.spec, split, bf16, command)
        rows += new
        if on_result is not None:
            on_result(result, new)
    return EvaluationResults(tuple(rows), tuple(runner.results))


def _check_test_images_alone(
    synthetic_set: str | os.PathLike[str] | None, baselines: Sequence[str], split: Split, prior_correction: bool
) -> None:
    """Raise ValueError for options that need the real training data."""
    options = {"baselines": bool(baselines), "prior_correction": prior_correction}
    options |= {"split=val": split == "val", "ipc": synthetic_set is None}
    if needed := [name for name, used in options.items() if used]:
        raise ValueError(f"{needed[0]} needs real data beside test_data: give --data, or leave {needed[0]} out")


def _check_prior_correction(data: EvaluationData, map_classes: Mapping[str, str] | None) -> None:
    """Raise ValueError if prior correction is not defined."""
    if data.spec.multi_label:
        raise ValueError(f"prior_correction is not defined for {data.spec.name}, which is multi-label; leave it out")
    if map_classes:
        raise ValueError(
            "prior_correction cannot be combined with map_classes: the target class frequencies are ambiguous"
        )


def _check(
    synthetic_set: str | os.PathLike[str] | None, ipc: int | list[int] | None, baselines: Sequence[str], students: int
) -> None:
    """Raise ValueError for arguments that are wrong without any data."""
    if unknown := [name for name in baselines if name not in (*METHODS, *FULL_BASELINES)]:
        raise ValueError(f"unknown baseline {unknown[0]!r}; use any of {', '.join((*METHODS, *FULL_BASELINES))}")
    if (synthetic_set is None) == (ipc is None):
        raise ValueError("give either a set file (--set) or, for baselines alone, images per class (--ipc)")
    if synthetic_set is None and not baselines:
        raise ValueError(f"ipc={ipc} without baselines trains nothing; name some, e.g. --baselines random full")
    if students == 1:
        warnings.warn("students=1: no spread and no interval over students; 2 are needed", stacklevel=3)
