"""``lightning-distill evaluate``: score a set file on real data, beside its baselines."""

from __future__ import annotations

import inspect
import json
import re
import shlex
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

from lightning_distill.commands._candidates import (
    FULL,
    Split,
    baseline_candidate,
    embedding,
    evaluation_split,
    set_candidate,
    student_bar,
    without_augmentation,
)
from lightning_distill.data import ArrayDataModule
from lightning_distill.evaluation import StudentEvaluator
from lightning_distill.evaluation.baselines import full_data
from lightning_distill.evaluation.metrics.intervals import small_split_warning
from lightning_distill.evaluation.metrics.prior_correction import class_priors
from lightning_distill.evaluation.metrics.relative import RelativeScores, bytes_of_arrays
from lightning_distill.evaluation.result import (
    Candidate,
    EvaluationResult,
    EvaluationSplit,
    compare_to_baselines,
    evaluate_candidate,
)
from lightning_distill.evaluation.result_table import ResultRow, architecture_table, make_row, rich_table
from lightning_distill.evaluation.students.protocol import get_protocol
from lightning_distill.functional.compile import CompileMode
from lightning_distill.sets.adapt import adapted_sampler
from lightning_distill.sets.coresets import METHODS, Space
from lightning_distill.sets.storage import check_writable
from lightning_distill.sets.synthetic import SmallClass, images_per_class
from lightning_distill.spec import DataSpec
from lightning_distill.utils.csv_rows import append_csv, read_csv

Precision = Literal["32-true", "bf16-mixed"]


def evaluate(
    synthetic_set: str | None = None,
    data: ArrayDataModule | None = None,
    protocol: str = "reference",
    baselines: list[str] | None = None,
    ipc: int | list[int] | None = None,
    split: Split = "test",
    test_data: ArrayDataModule | None = None,
    map_classes: dict[str, str] | None = None,
    resize: bool = False,
    augmentation: str | None = None,
    students: int = 5,
    architectures: list[str] | None = None,
    seed: int = 0,
    space: Space = "pixels",
    ars: bool = False,
    prior_correction: bool = False,
    distillation_seconds: float | None = None,
    precision: Precision = "32-true",
    accelerator: Literal["auto", "cpu", "cuda"] = "auto",
    compile: CompileMode = "auto",
    on_small_class: SmallClass = "error",
    out: str | None = None,
    predictions: str | None = None,
) -> list[ResultRow]:
    """Train fresh students on a set file and on its baselines, or on baselines alone, and score them on real data.

    Probabilities are calibrated on val and the test split is looked at once: nothing is chosen on it.

    Args:
        set: ``set.safetensors`` or its folder; without one, ``ipc`` says how large the baselines are.
        data: the real data: ``--data MedMNISTDataModule --data.name breastmnist``.
        protocol: ``reference`` or ``quick``.
        baselines: any of ``random``, ``herding``, ``kcenter``, ``kmeans`` (as many real images), ``full`` (all),
            ``full_weighted`` (all, rare classes counting more) and ``full_balanced`` (as many of every class as the
            rarest has).
        ipc: images per class of baselines that are scored without a set.
        split: real images to score on; choose on ``val``, look at ``test`` once.
        test_data: data of another site to score on; set and baselines are still those of ``data``.
        map_classes: the scored data's class for each class of the set, where names or order differ.
        resize: bring the set's images to the size and channels of the data.
        augmentation: of students, a preset of `presets.PRESETS`; ``None`` takes the set's own.
        students: of each architecture; random subsets are drawn anew for each.
        architectures: by our names or timm's; default ``convnet``. With several, the first is the matched one.
        seed: of the first student.
        space: in which herding, k-center and k-means measure: ``pixels``, or ``embedding`` of a network trained on
            the real data.
        ars: train set and random subsets without augmentation too, for DD-Ranking's augmentation-robust score.
        prior_correction: bring the probabilities of students of balanced images to the real data's class shares, see
            `priors.prior_offset`.
        distillation_seconds: what making the set took, for the number of trainings after which it has paid.
        precision: of the forward.
        accelerator: where to compute.
        compile: see `functional.FunctionalNetwork`.
        on_small_class: for baselines, where a class has fewer images than the set: ``error``, ``fewer``, ``repeat``.
        out: CSV that the rows are added to.
        predictions: folder for what students said of every image, one file a subject, for ``report`` and ``compare``.

    Returns:
        One row for each thing measured; with several architectures one for each of them, and one for all.

    Raises:
        ValueError: unknown baseline, a set that does not fit the data, neither set nor ipc, or both; a correction of
            multi-label data, or beside ``map_classes``.
    """
    if data is None:
        raise ValueError("no data: --data MedMNISTDataModule --data.name breastmnist, or any other data module")
    check(synthetic_set, ipc, baselines := baselines or [], students)
    if prior_correction and data.spec.multi_label:
        raise ValueError(f"prior_correction of {data.spec.name}: its labels do not exclude each other; leave it out")
    if prior_correction and map_classes:
        raise ValueError("prior_correction with map_classes: whose class shares is not clear; use one of them")
    for folder in (Path(out).parent if out is not None else None, predictions):
        if folder is not None:
            check_writable(folder)
    if out is not None:
        read_csv(Path(out), ResultRow)
    way = replace(get_protocol(protocol), augmentation=augmentation)
    exam = StudentEvaluator(way, students, architectures or ["convnet"], seed, compile)
    device = ("cuda" if torch.cuda.is_available() else "cpu") if accelerator == "auto" else accelerator
    bf16, scored = precision == "bf16-mixed", test_data or data
    own = [] if synthetic_set is None else [set_candidate(synthetic_set, scored.spec, exam, map_classes, resize)]
    counts = (own[0].counts if own else None) or images_per_class(ipc or 1, data.spec)
    features = None
    if space == "embedding" and any(name in METHODS and name != "random" for name in baselines):
        features = embedding(data, exam, device, bf16)
    others = [baseline_candidate(name, data, counts, exam, on_small_class, features) for name in baselines]
    if test_data is not None:
        others = [
            replace(o, make_training_set=adapted_sampler(o.make_training_set, scored.spec, map_classes, resize))
            for o in others
        ]
    more = {"space": space, "map_classes": map_classes, "resize": resize, "ars": ars, "on_small_class": on_small_class,
            "prior_correction": prior_correction,
            "distillation_seconds": distillation_seconds}  # fmt: skip
    if prior_correction:
        real = class_priors(full_data(data.all_train_arrays(), data.spec)(0))
        own, others = ([replace(subject, target_priors=real) for subject in some] for some in (own, others))
    command = command_line(synthetic_set, ipc, data, baselines, split, exam, precision, test_data, more)
    view, real_bytes = evaluation_split(scored, split), float(bytes_of_arrays(*data.all_train_arrays()))
    done: list[EvaluationResult] = []
    plain: dict[str, float] = {}
    rows: list[ResultRow] = []
    with student_bar() as bar:
        for subject in [*others, *own]:
            done.append(found := with_bar(subject, view, device, bf16, bar))
            if ars and (subject.distilled or subject.name == "random"):
                bare = with_bar(without_augmentation(subject), view, device, bf16, bar)
                plain[subject.name] = bare.scores.mean("acc")
            known = (
                compare_to_baselines(found, done, real_bytes, distillation_seconds or np.nan, plain)
                if subject.distilled
                else RelativeScores()
            )
            rows += (new := rows_of(found, known, scored.spec, split, bf16, command))
            if out is not None:
                append_csv(Path(out), new)
            if predictions is not None:
                found.predictions.write(
                    Path(predictions) / f"{re.sub(r'[^A-Za-z0-9]+', '_', subject.name)}.safetensors"
                )
    say(rows, done[-1], scored.spec, exam, Console())
    return rows


def check(set: str | None, ipc: int | list[int] | None, baselines: Sequence[str], students: int) -> None:
    """Refuse what cannot be, before anything is trained.

    Raises:
        ValueError: unknown baseline, neither set nor ipc, or both.
    """
    if unknown := [name for name in baselines if name not in (*METHODS, *FULL)]:
        raise ValueError(f"unknown baseline {unknown[0]!r}; use any of {', '.join((*METHODS, *FULL))}")
    if (set is None) == (ipc is None):
        raise ValueError("give either a set file (--set) or, for baselines alone, images per class (--ipc)")
    if students == 1:
        warnings.warn("students=1: no spread and no interval over students; 2 are needed", stacklevel=3)


def with_bar(subject: Candidate, view: EvaluationSplit, device: str, bf16: bool, bar: Progress) -> EvaluationResult:
    """Assess a subject, with a line of its own in the progress display."""
    exam = subject.evaluator
    plain = ", no augmentation" if exam.protocol.augmentation == "none" else ""
    task = bar.add_task(f"{subject.name}, {len(exam.seeds)} students{plain}", total=exam.epochs)
    return evaluate_candidate(subject, view, device, bf16, partial(bar.advance, task))


def rows_of(
    found: EvaluationResult, derived: RelativeScores, spec: DataSpec, split: str, bf16: bool, command: str
) -> list[ResultRow]:
    """A row, and with several architectures one for each of them before it."""
    names = found.candidate.evaluator.architectures
    single = names if len(names) > 1 else []
    rows = [
        make_row(found.for_architecture(name), RelativeScores(), spec, split, bf16, command, name) for name in single
    ]
    return [*rows, make_row(found, derived, spec, split, bf16, command)]


def say(
    rows: Sequence[ResultRow], last: EvaluationResult, spec: DataSpec, exam: StudentEvaluator, console: Console
) -> None:
    """Print tables, what follows for the set, and what the size of the split is worth."""
    split = last.predictions.split
    console.print(
        rich_table(rows, f"{spec.name} ({spec.source}), {split} split, {exam.protocol.name} protocol, percent")
    )
    if len(exam.architectures) > 1:
        console.print(architecture_table(rows, "accuracy by network; drop: mean of the others against the first"))
    if last.candidate.distilled:
        known = RelativeScores(**{name: getattr(rows[-1], name) for name in RelativeScores().to_dict()})
        for name, text in known.table_rows():
            console.print(f"  {name}: {text}", highlight=False)
    drawn = last.intervals["acc"]
    if (told := small_split_warning(drawn.n, last.scores.mean("acc"), split, over=drawn.unit)) is not None:
        console.print(told, highlight=False)


def command_line(
    set: str | None,
    ipc: int | list[int] | None,
    data: ArrayDataModule,
    baselines: list[str],
    split: str,
    exam: StudentEvaluator,
    precision: Precision,
    test_data: ArrayDataModule | None,
    more: Mapping[str, object],
) -> str:
    """The command that makes these rows again, without any folder of this machine beyond what the user typed.

    ``more`` are options that are shown where they are not `evaluate`'s defaults.
    """
    what = ["--set", _relative(set)] if set is not None else ["--ipc", str(ipc)]
    parts = ["lightning-distill", "evaluate", *what, *data_options("data", data)]
    parts += data_options("test_data", test_data) if test_data is not None else []
    parts += ["--baselines", f"[{','.join(baselines)}]", "--split", split, "--protocol", exam.protocol.name]
    if exam.protocol.augmentation is not None:
        parts += ["--augmentation", exam.protocol.augmentation]
    if exam.architectures != ["convnet"]:
        parts += ["--architectures", f"[{','.join(exam.architectures)}]"]
    defaults = inspect.signature(evaluate).parameters
    for key, value in more.items():
        if value != defaults[key].default:
            parts += [f"--{key}", json.dumps(value) if isinstance(value, (dict, bool)) else str(value)]
    parts += ["--students", str(len(exam.seeds)), "--seed", str(exam.seeds[0]), "--precision", precision]
    return shlex.join(parts)


def data_options(name: str, data: ArrayDataModule) -> list[str]:
    """``--data NAME --data.key value``, without any folder of this machine."""
    parts = [f"--{name}", type(data).__name__]
    for key, value in data.reproducible_args.items():
        parts += [f"--{name}.{key}", str(value)]
    return parts


def _relative(path: str) -> str:
    return path if not Path(path).is_absolute() else Path(path).name
