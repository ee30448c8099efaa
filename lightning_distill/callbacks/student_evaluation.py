"""``StudentEvaluation``: train students on a set and score them on real data in Lightning's own loops."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import MetricCollection

from lightning_distill._renamed import RenamedArguments
from lightning_distill.callbacks._image_space import (
    ImageSpace,
    batch_space,
    identity_statistics,
    image_statistics,
    statistics_for,
    to_student_space,
)
from lightning_distill.callbacks._lightning_private import current_datamodule, current_evaluation_loader
from lightning_distill.callbacks._loggers import log_image, wandb_loggers
from lightning_distill.callbacks.progress import student_progress
from lightning_distill.data import ArrayDataModule
from lightning_distill.data.checks.label_combinations import combination_indices, frequent_combinations, is_covered
from lightning_distill.data.loaders import ClassBalancedLoader, SequentialLoader
from lightning_distill.evaluation import (
    LabeledSet,
    Predictions,
    Scores,
    StudentEvaluator,
    TrainedStudents,
    coreset_sampler,
)
from lightning_distill.functional.compile import CompileMode
from lightning_distill.sets.adapt import adapt_set
from lightning_distill.sets.storage import read_set
from lightning_distill.sets.synthetic import SyntheticSet
from lightning_distill.spec import DataSpec
from lightning_distill.utils.lazy_arrays import take
from lightning_distill.utils.rng import isolated_rng

Arrays = tuple[NDArray[np.generic], NDArray[np.int64]]
SetSource = str | os.PathLike[str] | tuple[Tensor, Tensor]


class StudentEvaluation(RenamedArguments, Callback):
    """Train fresh students on a set in Lightning's validation and test loops, and log their scores.

    Logs the mean over students of every metric of `compute_metrics` (``val/acc``, ``val/auroc``, ``val/balanced_acc``,
    ``val/worst_recall``, ``val/macro_f1``, ``val/ece``, ...; ``test/...`` in a test), ``val/acc_std`` over students,
    and ``val/acc_gain_over_random``: the accuracy minus that of students of random real images, equally many per class.
    The random baseline is measured once and kept in checkpoints. ``ModelCheckpoint(monitor="val/acc")``,
    ``EarlyStopping`` and ``trainer.test(ckpt_path="best")`` work unchanged.

    Batches of a data module with a ``spec``, such as `ArrayDataModule`, and uint8 batches are in pixel units; the
    callback normalises them by the statistics that the students were trained with. Float batches of any other loader
    are taken as normalised.

    On several processes, the students are divided among the ranks if the loader gives every rank all images, as those
    of `ArrayDataModule` do. For a ``DataLoader``, Lightning divides the images, and every rank trains all students.

    Args:
        protocol: Training protocol of the students: ``reference`` (1000 epochs), ``quick`` (300) or ``tiny`` (10); for
            networks with weights also ``probe`` (a linear layer on the frozen network) and ``finetune`` (all weights).
        students: Number of students of each architecture.
        architectures: Names of networks in this package or in timm; default ``["convnet"]``.
        weights: Path of a local weights file for each timm model among the architectures that is pretrained, see
            `networks.resolve_networks`.
        seed: Seed of the first student; student i has the seed ``seed + i``.
        random_baseline: Whether to measure students of random real images too.
        synthetic_set: Set to evaluate. Default: the set of the `Distiller` that is trained. Else the path of a set file
            or of its folder, or a tuple of images ``(N, C, H, W)`` and labels ``(N,)`` or 0/1 targets ``(N, L)``. In a
            tuple, uint8 images are in pixel units and float images are normalised, as ``load_set`` returns them.
        metrics: Additional torchmetrics metrics, logged as means over students. Each student updates its own copy with
            logits ``(B, K)`` and labels ``(B,)`` or 0/1 targets ``(B, L)``; each metric must return a single number.
        compile: When to compile the networks, see `functional.FunctionalNetwork`.
        figures: Whether to log the confusion matrix, the reliability diagram and the recall of each class to W&B.

    Raises:
        ValueError: Unknown protocol or architecture; no set; images of another shape or unit than the loader's; a set
            file with other classes than the data module's;
            ``metrics`` that share a name with the metrics that are always logged, or return more than one number.
        FileNotFoundError: No set file at the path.

    Example:
        >>> images, labels = torch.zeros(4, 1, 8, 8), torch.tensor([0, 0, 1, 1])
        >>> callback = StudentEvaluation("tiny", students=2, synthetic_set=(images, labels))
    """

    def __init__(
        self,
        protocol: str = "quick",
        students: int = 3,
        *,
        architectures: list[str] | None = None,
        weights: dict[str, str] | None = None,
        seed: int = 0,
        random_baseline: bool = True,
        synthetic_set: str | os.PathLike[str] | tuple[Tensor, Tensor] | None = None,
        metrics: MetricCollection | None = None,
        compile: CompileMode = "auto",
        figures: bool = True,
    ) -> None:
        self.evaluator = StudentEvaluator(protocol, students, architectures or ["convnet"], seed, compile, weights)
        self.random_baseline, self.figures, self.metrics = random_baseline, figures, metrics
        self.scores: dict[str, Scores] = {}
        self._set = None if synthetic_set is None else _read_source(synthetic_set)
        self._train_spec: DataSpec | None = None
        self._units_known = True
        self._trained: TrainedStudents | None = None
        self._random_trained: TrainedStudents | None = None
        self._random_acc: dict[str, float] = {}
        self._baseline_key = ""

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Train the students, except before Lightning's sanity check."""
        if not trainer.sanity_checking:
            self._train(trainer, pl_module, "val")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Train the students."""
        self._train(trainer, pl_module, "test")

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: int, **__: int
    ) -> None:
        """Score the students on a real batch."""
        self._update(trainer, batch)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: int, **__: int
    ) -> None:
        """Score the students on a real batch."""
        self._update(trainer, batch)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the scores."""
        if self._trained is not None:
            self._log(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the scores."""
        self._log(trainer, pl_module, "test")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Free the students."""
        self._trained = self._random_trained = None

    def state_dict(self) -> dict[str, Any]:
        """Return the accuracy of the random baselines, so that a resumed run does not measure them again."""
        return {"random_acc": self._random_acc}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the accuracy of the random baselines."""
        self._random_acc = dict(state_dict["random_acc"])

    def describe(self, stage: str) -> dict[str, object]:
        """Return the last scores of a stage and their protocol as plain data for a card; empty before the first.

        Args:
            stage: ``val`` or ``test``.
        """
        if stage not in self.scores:
            return {}
        scores = self.scores[stage]
        metrics = {name: scores.mean(name) for name in ("acc", "balanced_acc", "auroc")}
        return {
            **metrics,
            "acc_std": scores.std("acc"),
            "protocol": self.evaluator.protocol.name,
            "architectures": self.evaluator.architectures,
            "seeds": self.evaluator.seeds,
        }

    def _train(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        data, self._train_spec = self._resolve_set(trainer, pl_module)
        device, bf16 = pl_module.device, "bf16" in str(trainer.precision)
        sharded = isinstance(current_evaluation_loader(trainer), SequentialLoader)  # all ranks see all images
        epochs = self.evaluator.epochs_on_this_rank(sharded)
        with student_progress(trainer, epochs, f"{len(self.evaluator.seeds)} students") as on_epoch:
            self._trained = self.evaluator.train(lambda _: data, device, bf16, on_epoch, sharded)
        if self.metrics is not None:
            self._trained.add_metrics(self.metrics)
        self._baseline_key = f"{stage}, {_baseline_key(data, self._train_spec, self.evaluator)}"
        if not self.random_baseline or self._baseline_key in self._random_acc:
            return
        real = _real_images(trainer, self._train_spec)
        if real is not None:
            arrays, space = real
            counts = torch.bincount(data.labels, minlength=len(data.spec.balance_groups)).tolist()
            spec = statistics_for(space, self._train_spec)
            sampler = coreset_sampler("random", arrays, counts, spec, self.evaluator.seeds[0])
            with student_progress(trainer, epochs, "students of random subsets") as on_epoch:
                self._random_trained = self.evaluator.train(sampler, device, bf16, on_epoch, sharded)

    def _resolve_set(self, trainer: Trainer, pl_module: LightningModule) -> tuple[LabeledSet, DataSpec]:
        """Return the training set, and a spec with the statistics that map pixel units to the students' space."""
        synthetic = getattr(pl_module, "synthetic", None)
        if self._set is None:
            if not isinstance(synthetic, SyntheticSet):
                name = type(pl_module).__name__
                raise ValueError(f"{name} has no synthetic set; use StudentEvaluation(synthetic_set=...)")
            data = exported_set(synthetic)
            return data, data.spec
        data, spec = self._set.data, self._set.data.spec
        real_spec = _data_spec(trainer, synthetic)
        if real_spec is not None and real_spec.shape != spec.shape:
            _raise_shape(spec, real_spec.shape)
        if self._set.from_file and real_spec is not None:
            adapt_set(data, real_spec)  # refuses other classes and other pixel units; the set keeps its mean and std
        if not self._set.from_file:
            self._units_known = self._set.space == "normalized" or real_spec is not None
            if real_spec is not None:
                spec = replace(spec, mean=real_spec.mean, std=real_spec.std)
            data = replace(data, spec=statistics_for(self._set.space, spec))
        return data, spec

    def _update(self, trainer: Trainer, batch: Any) -> None:
        if self._trained is None or self._train_spec is None:
            return
        x, y = batch
        if tuple(x.shape[1:]) != self._train_spec.shape:
            _raise_shape(self._train_spec, tuple(x.shape[1:]))
        space = batch_space(x, _gives_pixel_units(trainer))
        if space == "normalized" and not self._units_known:
            raise ValueError(
                "synthetic_set holds uint8 images, the loader gives float images: their units may differ; "
                "give the set as floats in the space of the loader"
            )
        images = to_student_space(x, space, self._train_spec)
        for trained in (self._trained, self._random_trained):
            if trained is not None:
                trained.update(images, y)

    def _log(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        assert self._trained is not None
        self.scores[stage] = scores = self._trained.scores()
        if self.figures and (loggers := wandb_loggers(trainer.loggers)):
            log_figures(loggers, stage, self._trained.predictions(stage), trainer.global_step)
        added = self._trained.added_scores()
        if self._random_trained is not None:
            self._random_acc[self._baseline_key] = self._random_trained.scores().mean("acc")
        self._trained = self._random_trained = None
        values = {name: scores.mean(name) for name in scores.students[0]}
        if len(scores.students) > 1:
            values["acc_std"] = scores.std("acc")
        if self._baseline_key in self._random_acc:
            values["acc_gain_over_random"] = values["acc"] - self._random_acc[self._baseline_key]
        if len(self.evaluator.architectures) > 1:
            values.update({f"acc/{name}": scores.mean("acc", name) for name in self.evaluator.architectures})
        if taken := sorted(values.keys() & added.keys()):
            raise ValueError(f"metrics: {taken} are logged already; use MetricCollection(..., prefix='my_')")
        values.update(added)
        pl_module.log_dict({f"{stage}/{name}": value for name, value in values.items()}, prog_bar=False)
        gain = f", {values['acc_gain_over_random']:+.4f} over random" if "acc_gain_over_random" in values else ""
        cost = f"{len(scores.students)} students, {scores.seconds:.0f} s"
        rank_zero_info(f"{stage}/acc {values['acc']:.4f}{gain} ({cost})")


def log_figures(loggers: Sequence[Logger], stage: str, predictions: Predictions, step: int) -> None:
    """Log the figures of `visualization.figures`, as ``val/confusion``, ``val/reliability`` and ``val/recall``.

    Args:
        loggers: Loggers of the Trainer.
        stage: ``val`` or ``test``.
        predictions: Logits of all students and the targets.
        step: Optimizer steps so far.
    """
    from lightning_distill.visualization.figures import figures  # imports matplotlib and scikit-learn

    for name, figure in figures(predictions).items():
        log_image(loggers, f"{stage}/{name}", figure, step)


def exported_set(synthetic: SyntheticSet) -> LabeledSet:
    """Return the set as it is exported, on the CPU: pixels, labels, and learned soft labels and learning rate."""
    soft_labels = None if synthetic.soft_label_logits is None else synthetic.targets().detach().cpu()
    lr = None if synthetic.lr is None else float(synthetic.lr.detach())
    return LabeledSet(
        synthetic.pixels().cpu(), synthetic.labels.cpu(), synthetic.spec, soft_labels, lr, synthetic.formation
    )


@dataclass(frozen=True)
class _SourceSet:
    """A set that was given to the callback.

    Args:
        data: Images in their own space, labels, and a spec with the statistics known from the set alone.
        space: Space of the images.
        from_file: Whether the spec is that of a set file; its statistics then take precedence over the data module's.
    """

    data: LabeledSet
    space: ImageSpace
    from_file: bool


def _read_source(source: SetSource) -> _SourceSet:
    if isinstance(source, str | os.PathLike):
        data, _ = read_set(os.fspath(source))
        return _SourceSet(data, "pixels", from_file=True)
    images, labels = source[0].detach().cpu(), source[1].detach().cpu().long()
    if images.ndim != 4 or len(images) != len(labels):
        shapes = f"got {tuple(images.shape)} and {tuple(labels.shape)}"
        raise ValueError(f"synthetic_set takes images (N, C, H, W) and labels (N,) or (N, L); {shapes}")
    combinations: tuple[tuple[int, ...], ...] = ()
    if labels.ndim == 2 and labels.shape[1] > 1:
        classes = labels.shape[1]
        combinations = frequent_combinations(labels.numpy(), least=1)
        labels = torch.from_numpy(combination_indices(labels.numpy(), combinations))
    else:
        labels = labels.flatten()
        classes = int(labels.max()) + 1
    if classes < 2:
        raise ValueError("synthetic_set has one class only; students need at least two")
    space = batch_space(images)
    images = images if space == "pixels" else images.float()
    mean, std = image_statistics(images)
    spec = DataSpec(
        name="given set",
        shape=(images.shape[1], images.shape[2], images.shape[3]),
        class_names=tuple(map(str, range(classes))),
        mean=mean,
        std=std,
        min_value=float(images.min()),
        max_value=float(images.max()),
        storage_dtype="float16",
        augmentation="dsa",
        task="multi-label" if combinations else "multi-class",
        combinations=combinations,
    )
    spec = spec if space == "pixels" else identity_statistics(spec)
    return _SourceSet(LabeledSet(images, labels, spec), space, from_file=False)


def _raise_shape(spec: DataSpec, shape: tuple[int, ...]) -> None:
    raise ValueError(f"the set's images are {spec.shape}, the loader's {shape} (C, H, W); resize one of them")


def _spec_of(datamodule: object) -> DataSpec | None:
    spec = getattr(datamodule, "spec", None)
    return spec if isinstance(spec, DataSpec) else None


def _data_spec(trainer: Trainer, synthetic: object) -> DataSpec | None:
    """Return the spec of the real data: the data module's that is read now, an earlier call's, or the distiller's."""
    candidates = (current_datamodule(trainer), trainer.datamodule, synthetic)  # type: ignore[attr-defined]
    return next((spec for source in candidates if (spec := _spec_of(source)) is not None), None)


def _gives_pixel_units(trainer: Trainer) -> bool:
    """Return whether the loader that is read now is known to give pixel units."""
    return _spec_of(current_datamodule(trainer)) is not None or isinstance(
        current_evaluation_loader(trainer), SequentialLoader
    )


def _baseline_key(data: LabeledSet, train_spec: DataSpec, evaluator: StudentEvaluator) -> str:
    """Return all that the score of a random subset depends on, except the stage, as text."""
    counts = torch.bincount(data.labels, minlength=len(data.spec.balance_groups)).tolist()
    statistics = f"mean {train_spec.mean}, std {train_spec.std}"
    students = f"{evaluator.protocol}, {evaluator.architectures}, {evaluator.seeds}"
    return f"{data.spec.name} {counts}, {statistics}, {students}"


def _real_images(trainer: Trainer, spec: DataSpec) -> tuple[Arrays, ImageSpace] | None:
    """Return real training images with labels, and their space; a loader of another project is read once."""
    datamodule: Any = current_datamodule(trainer) or trainer.datamodule  # type: ignore[attr-defined]
    if isinstance(datamodule, ArrayDataModule):
        return _in_groups(datamodule.all_train_arrays(), spec), "pixels"
    loader: Any = trainer.train_dataloader
    if datamodule is None and isinstance(loader, ClassBalancedLoader):
        labels = np.zeros(len(loader.images), np.int64)
        for label, rows in enumerate(loader.members):
            labels[rows] = label
        return (loader.images, labels), "pixels"
    if datamodule is None and loader is None:
        rank_zero_warn("acc_gain_over_random is not measured without training data; give the Trainer a datamodule")
        return None
    with isolated_rng(0):
        batches = list(datamodule.train_dataloader() if datamodule is not None else loader)
    images, targets = torch.cat([batch[0] for batch in batches]), torch.cat([batch[1] for batch in batches])
    space = batch_space(images, _spec_of(datamodule) is not None)
    images = images if images.dtype == torch.uint8 else images.float()
    targets = targets if spec.multi_label else targets.flatten()
    foreign = ArrayDataModule((images.numpy(), targets.numpy()), class_names=spec.class_names, channels="first")
    return _in_groups(foreign.all_train_arrays(), spec), space


def _in_groups(arrays: Arrays, spec: DataSpec) -> Arrays:
    """Return images and numbers of ``spec.balance_groups``: of multi-label data, the images that are in a group."""
    images, targets = arrays
    if not spec.multi_label:
        return images, targets
    rows, groups = is_covered(targets, spec.combinations)
    return take(images, rows), groups
