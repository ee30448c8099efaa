"""``distill``: the best set that a time budget allows."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from lightning_distill.audit.resemblance import measure_resemblance
from lightning_distill.data import ArrayDataModule
from lightning_distill.evaluation.baselines import coreset_sampler, full_data
from lightning_distill.evaluation.guard import GainCheck, check_gain
from lightning_distill.evaluation.label_prior import Prior
from lightning_distill.evaluation.metrics.registry import get_metric
from lightning_distill.evaluation.students.protocol import get_protocol
from lightning_distill.functional.compile import CompileMode
from lightning_distill.networks import check_network
from lightning_distill.portfolio.candidate import CandidateRun
from lightning_distill.portfolio.recipes import select_recipes
from lightning_distill.portfolio.scoring import PortfolioStudents
from lightning_distill.portfolio.search import OnUpdate, Search
from lightning_distill.portfolio.settings import check_defined, describe_images, describe_teachers
from lightning_distill.portfolio.soft_labels import SoftLabels
from lightning_distill.portfolio.state import PortfolioState, Snapshot
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.storage import SET, check_writable, read_set, save_set
from lightning_distill.sets.synthetic import SmallClass, images_per_class
from lightning_distill.sets.training_images import ENTRY, hash_training_images
from lightning_distill.utils.arguments import check_choices, check_number
from lightning_distill.utils.hardware import resolve_device
from lightning_distill.utils.locks import owned

#: Picks of real images that every set is compared with.
PICKS = ("herding", "kmeans")
#: Largest number of networks: those that the pool of KRR holds by default.
MAX_NETWORKS = 6


@dataclass(frozen=True)
class DistillResult:
    """Result of `distill`.

    Args:
        path: File of the set.
        snapshot: Recipe, steps and search score of the set.
        snapshots: All scored snapshots.
        gain: Validation scores of the set, its start and picked images, by new students.
        full: Validation score of students of all real images; None where it did not fit into the budget.
        bytes: Size of the set file.
        seconds: Seconds spent, over all attempts.
    """

    path: Path
    snapshot: Snapshot
    snapshots: tuple[Snapshot, ...]
    gain: GainCheck
    full: float | None
    bytes: int
    seconds: float

    def sentence(self) -> str:
        """Return the result in one sentence."""
        gain, metric = self.gain, get_metric(self.gain.metric, self.gain.spec)
        images = f"{sum(gain.counts)} images ({self.bytes / 1000:.1f} kB)"

        def number(value: float) -> str:
            return f"{metric.text(value)}{metric.unit}"

        others = [f"{gain.best_pick} picks {number(gain.yardsticks[gain.best_pick])}"] if gain.best_pick else []
        if self.full is None:
            others.append("all data not measured")
            return f"{images} reach {number(gain.score)} {metric.label} on val; {'; '.join(others)}"
        others.append(f"all data {number(self.full)}")
        if not (metric.percent and metric.higher_is_better and self.full > 0):
            return f"{images} reach {number(gain.score)} {metric.label} on val; {'; '.join(others)}"
        share = f"{100 * gain.score / self.full:.0f} % of all data's {metric.label} on val ({number(gain.score)})"
        return f"{images} reach {share}; {'; '.join(others)}"


def distill(
    data: ArrayDataModule,
    ipc: int | list[int] = 10,
    minutes: float = 10.0,
    *,
    out: str | os.PathLike[str] = "distilled",
    recipes: list[str] | None = None,
    labels: Literal["hard", "soft"] = "hard",
    teachers: int | str = 3,
    prior: Prior = "balanced",
    metric: str | None = None,
    network: str | None = None,
    architectures: list[str] | None = None,
    protocol: str = "quick",
    students: int = 3,
    seed: int = 0,
    on_small_class: SmallClass = "repeat",
    precision: Literal["32-true", "bf16-mixed"] = "32-true",
    accelerator: Literal["auto", "cpu", "cuda"] = "auto",
    compile: CompileMode = "off",
    training_hashes: bool = True,
    on_update: OnUpdate = lambda message: None,
    on_state: Callable[[PortfolioState], object] = lambda state: None,
) -> DistillResult:
    """Find the best synthetic set that a time budget allows.

    Several recipes are distilled by successive halving: all get some steps, students score their sets on the validation
    split, the better half goes on. New students then score the best set, its start, picked real images and all real
    images, again on the validation split. The test split is not read; `evaluate` scores it, once.

    The folder ``out`` holds ``set.safetensors``, ``card.json`` and the state of the run: called again with the same
    arguments, an interrupted run goes on, and a finished one returns its result. With soft labels it also holds
    ``teachers.safetensors``, networks trained on the real data, which are not part of the set.

    Args:
        data: Real data: ``--data MedMNISTDataModule --data.name breastmnist``.
        ipc: Images per class, one number or one for each class.
        minutes: Time budget in minutes.
        out: Folder for the set and the state of the run.
        recipes: Names of `portfolio.RECIPES`, the most promising first. Default: those with sub-images; all where
            images are too small for them or there are more than 20 images per class.
        labels: ``hard``, or ``soft`` for additional probabilities by networks that are trained on the real data first.
            All scored sets then have soft labels, the picks too.
        teachers: Teachers of the soft labels: a number to train, or a file written by ``relabel --save_teachers``.
        prior: Class frequencies of the soft labels: ``balanced`` or ``natural``.
        metric: Metric that selects. Default: ``balanced_acc``, or ``auroc`` for multi-label data.
        network: Network of the distillation, of this package or of timm. Default: ``convnet_w32`` on a CPU, ``convnet``
            on a GPU.
        architectures: Networks of the students, six at most with ``network``, such as ``[convnet_w32, lenet]`` where
            receivers of the set train other networks: the score is the mean over them, and the recipes with KRR use all
            of them. Default: students of ``network`` alone, and LeNet and MLP beside it in the pool of KRR, whose sets
            then train other networks better.
        protocol: Training protocol of the students: ``quick``, ``reference`` or ``tiny`` (for tests).
        students: Number of students of each network in a final score.
        seed: Seed of the distillations and of the students.
        on_small_class: Policy where a class has fewer images than a recipe needs: ``error``, ``fewer`` or ``repeat``.
        precision: Precision of forward passes: ``32-true`` or ``bf16-mixed``.
        accelerator: Device: ``cpu``, ``cuda``, or ``auto`` for CUDA where it is available.
        compile: Mode of ``torch.compile``: ``off``, ``auto`` or ``max``. Its warm-up counts as time.
        training_hashes: Whether the card holds hashes of the training images, see `SyntheticSetExport`.
        on_update: Function called with a description whenever something is done.
        on_state: Function called once with the state, which changes while the run goes on.

    Returns:
        The set, its scores and its price.

    Raises:
        ValueError: A name is unknown, the budget does not hold one candidate (the message names the minutes needed),
            the teachers are not better than chance, or ``out`` holds a run with other arguments.
        OSError: The folder cannot be written, or belongs to a run that is still going.

    Example:
        >>> from lightning_distill import DigitsDataModule, distill
        >>> result = distill(DigitsDataModule(), ipc=1, minutes=2)  # doctest: +SKIP
        >>> result.sentence()  # doctest: +SKIP
    """
    check_choices(distill, {**locals()})
    device = resolve_device(accelerator)
    network = network or ("convnet" if device == "cuda" else "convnet_w32")
    others = None if architectures is None else [name for name in dict.fromkeys(architectures) if name != network]
    architectures = list(dict.fromkeys(architectures or [network]))
    if len({network, *architectures}) > MAX_NETWORKS:
        raise ValueError(
            f"{len({network, *architectures})} networks; give at most {MAX_NETWORKS}, with network={network}"
        )
    for name in (network, *architectures):
        check_network(name)
    get_protocol(protocol)
    check_number("minutes", minutes, -math.inf)
    if not minutes > 0:
        raise ValueError(f"minutes={minutes:g}; the budget must be above 0")
    data.prepare_data()
    data.setup()
    spec = data.spec
    metric = metric or ("auroc" if spec.multi_label else "balanced_acc")
    get_metric(metric, spec)
    check_defined(metric, data)
    chosen = select_recipes(recipes, spec, max(images_per_class(ipc, spec)))
    check_writable(out)
    with owned(out):
        settings = {
            "data": f"{spec.name}, {spec.source}", "images": describe_images(data), "ipc": ipc, "minutes": minutes,
            "recipes": [recipe.name for recipe in chosen],
            "metric": metric, "network": network, "protocol": protocol, "students": students, "seed": seed,
            "on_small_class": on_small_class, "precision": precision, "device": device, "compile": compile,
            "labels": labels, "prior": prior, "teachers": describe_teachers(teachers),
        }  # fmt: skip
        if not training_hashes:
            settings["training_hashes"] = False
        if others is not None:
            settings["architectures"] = architectures
        state = PortfolioState.open(out, settings)
        on_state(state)
        options: dict[str, object] = {
            "ipc": ipc, "network": network, "seed": seed, "on_small_class": on_small_class, "compile": compile,
        }  # fmt: skip
        trainer = {"accelerator": "gpu" if device == "cuda" else "cpu", "precision": precision}
        folder = Path(out)
        candidates = {
            recipe.name: CandidateRun(recipe, data, folder / "candidates" / recipe.name, options, trainer, others)
            for recipe in chosen
        }
        bf16 = precision == "bf16-mixed"
        judge = PortfolioStudents(data, protocol, students, architectures, seed, device, bf16, compile)
        real = full_data(data.all_train_arrays(), spec)(0)
        search = Search(candidates, judge, state, metric, 60 * minutes, real, len(PICKS), on_update)
        if labels == "soft" and state.final is None:
            search.on_update("teachers of the soft labels")
            judge.label = SoftLabels.of_run(
                folder,
                teachers,
                data,
                prior=prior,
                network=network,
                protocol=protocol,
                seed=seed,
                device=device,
                bf16=bf16,
                compile=compile,
            )
            search.save("the teachers are trained")
        if state.final is not None and not (folder / SET).is_file():
            state.final = None  # the file is gone; its set is kept among the candidates
        best = search.run()
        if state.final is None:
            state.final = _final_scores(search, best, training_hashes)
            search.save("the set is written")
        gain = GainCheck(**{**state.final, "spec": spec})  # type: ignore[arg-type]
        path = folder / SET
        return DistillResult(
            path, best, tuple(state.snapshots), gain, state.full, path.stat().st_size, round(state.seconds, 1)
        )


def labelled(
    sampler: Callable[[int], LabeledSet], label: Callable[[LabeledSet], LabeledSet]
) -> Callable[[int], LabeledSet]:
    """Return a sampler of the same sets with other labels."""
    return lambda student: label(sampler(student))


def _final_scores(search: Search, best: Snapshot, training_hashes: bool) -> dict[str, object]:
    """Score the best set, its start, picks and all real images with new students; write the set with its card."""
    students, state, spec = search.students, search.state, search.real.spec
    data, final = students.data, students.final
    candidate, labels = search.candidates[best.recipe], data.train_arrays()[1]
    exported, card = read_set(state.snapshot_folder(best))
    full_students = int(state.plan["full_students"])  # type: ignore[call-overload]
    if state.full is None and full_students:
        search.on_update(f"all real data: {full_students} students")
        state.full = students.full(full_students, search.real).mean(search.metric)
        search.save("all real data are scored")
    counts = torch.bincount(exported.labels, minlength=len(spec.balance_groups)).tolist()
    picks = {
        name: coreset_sampler(name, data.train_arrays(), counts, spec, final.seeds[0])
        for name in PICKS
        if min(np.bincount(labels)) > 0
    }
    groups = data.groups.get("val")
    search.on_update("final scores: the set, its start and picked images")
    start = candidate.start()
    if isinstance(students.label, SoftLabels):
        exported, card = students.label.with_card(exported, card)
    gain = check_gain(
        exported,
        students.label(start),
        {name: labelled(sampler, students.label) for name, sampler in picks.items()},
        final,
        data.val_dataloader(),
        students.device,
        bf16=students.bf16,
        metric=search.metric,
        init=str(card["start"]),
        groups=None if groups is None else torch.from_numpy(groups),
    )
    portfolio: dict[str, object] = {
        "minutes": search.seconds / 60,
        "full": state.full,
        "snapshots": [asdict(snapshot) for snapshot in state.snapshots],
    }
    entries: dict[str, object] = {"gain": gain.to_dict(), "portfolio": portfolio}
    if training_hashes:
        entries[ENTRY] = hash_training_images(data.splits["train"][0])
    if gain.init != "noise":
        entries["resemblance"] = measure_resemblance(data, exported, start)
    save_set(state.folder, exported, {**card, **entries})
    return {field.name: getattr(gain, field.name) for field in fields(gain) if field.name != "spec"}
