"""``StudentEvaluation``: validating is training students on the set and scoring them on real data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor

from lightning_distill._renamed import RenamedArguments
from lightning_distill.callbacks.progress import student_progress
from lightning_distill.data import ArrayDataModule
from lightning_distill.data.checks.label_combinations import combination_indices, frequent_combinations
from lightning_distill.data.loaders import SequentialLoader
from lightning_distill.evaluation import (
    LabeledSet,
    Predictions,
    Scores,
    StudentEvaluator,
    TrainedStudents,
    coreset_sampler,
)
from lightning_distill.functional.compile import CompileMode
from lightning_distill.sets.storage import read_set
from lightning_distill.sets.synthetic import SyntheticSet
from lightning_distill.spec import DataSpec
from lightning_distill.utils.rng import isolated_rng


class StudentEvaluation(RenamedArguments, Callback):
    """Trains fresh students on a set in Lightning's own validation and test loops, and logs what they learned.

    Logs, for the stage ``val`` or ``test``, the students' means of all `compute_metrics` knows (``acc``, ``auroc``,
    ``balanced_acc``, ``worst_recall``, ``macro_f1``, ``ece``, ...), ``acc_std`` over students, and ``gain_random``, the
    accuracy above students of as many real images drawn at random, measured once and kept. So
    ``ModelCheckpoint(monitor="val/acc")``, ``EarlyStopping`` and ``trainer.test(ckpt_path="best")`` work unchanged.

    On several processes every rank trains a part of the students, where every rank sees all images, as the loaders of
    `ArrayDataModule` give them; into a ``DataLoader`` Lightning puts a sampler, and every rank trains all students.

    With a `Distiller` the set is the distiller's, in the form it will be shipped. In any other project give one:

    >>> images, labels = torch.zeros(4, 1, 8, 8), torch.tensor([0, 0, 1, 1])
    >>> callback = StudentEvaluation(set=(images, labels), students=2)

    Args:
        protocol: how students are trained: ``reference`` or ``quick``.
        students: of each architecture.
        architectures: by our names or timm's.
        seed: of the first student; the next ones count on.
        random_baseline: measure random subsets too.
        set: ``(images, labels)`` in the space of your loader's images, or the path of a shared set file (whose images
            are then normalised by its own mean and std); ``None`` takes the distiller's.
        compile: see `functional.FunctionalNetwork`.
        figures: send confusion matrix, reliability diagram and recall of each class to W&B, where the run goes there.

    Raises:
        ValueError: unknown protocol or architecture; no set; a loader of other images than the set's.
    """

    def __init__(
        self,
        protocol: str = "quick",
        students: int = 3,
        architectures: list[str] | None = None,
        seed: int = 0,
        random_baseline: bool = True,
        synthetic_set: str | tuple[Tensor, Tensor] | None = None,
        compile: CompileMode = "auto",
        figures: bool = True,
    ) -> None:
        self.exam = StudentEvaluator(protocol, students, architectures or ["convnet"], seed, compile)
        self.random_baseline, self.figures = random_baseline, figures
        self._given = _as_training_set(synthetic_set)
        self._sitting: TrainedStudents | None = None
        self._random_sitting: TrainedStudents | None = None
        self._random_acc: dict[str, float] = {}
        self._key = ""
        self.scores: dict[str, Scores] = {}

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Train the students, unless Lightning only checks its sanity."""
        if not trainer.sanity_checking:
            self._train(trainer, pl_module, "val")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Train the students."""
        self._train(trainer, pl_module, "test")

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: int, **__: int
    ) -> None:
        """Score the students on a real batch."""
        self._see(pl_module, batch)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: int, **__: int
    ) -> None:
        """Score the students on a real batch."""
        self._see(pl_module, batch)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the scores."""
        if self._sitting is not None:
            self._log(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the scores."""
        self._log(trainer, pl_module, "test")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Let the students go."""
        self._sitting = self._random_sitting = None

    def state_dict(self) -> dict[str, Any]:
        """The random subsets' accuracy by data, set size and stage: a resumed run need not measure it again."""
        return {"random_acc": self._random_acc}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what was measured."""
        self._random_acc = dict(state_dict["random_acc"])

    def describe(self, stage: str) -> dict[str, object]:
        """The last scores of a stage with what made them, as plain data for a card; empty before the first."""
        if stage not in self.scores:
            return {}
        scores = self.scores[stage]
        metrics = {name: scores.mean(name) for name in ("acc", "balanced_acc", "auroc")}
        return {
            **metrics,
            "acc_std": scores.std("acc"),
            "protocol": self.exam.protocol.name,
            "architectures": self.exam.architectures,
            "seeds": self.exam.seeds,
        }

    def _train(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        data = self._training_set(pl_module)
        device, bf16, spread = pl_module.device, "bf16" in str(trainer.precision), _all_ranks_see_all(trainer)
        epochs = self.exam.epochs_on_this_rank(spread)
        with student_progress(trainer, epochs, f"{len(self.exam.seeds)} students") as tick:
            self._sitting = self.exam.train(lambda _: data, device, bf16, tick, spread)
        self._key = f"{stage}, {_baseline_key(data, self.exam)}"
        real = _real_images(trainer, data.spec) if self.random_baseline and self._key not in self._random_acc else None
        if real is not None:
            counts = torch.bincount(data.labels, minlength=len(data.spec.balance_groups)).tolist()
            draw = coreset_sampler("random", real.train_arrays(), counts, data.spec, self.exam.seeds[0])
            with student_progress(trainer, epochs, "students of random subsets") as tick:
                self._random_sitting = self.exam.train(draw, device, bf16, tick, spread)

    def _training_set(self, pl_module: LightningModule) -> LabeledSet:
        if self._given is not None:
            return self._given
        synthetic = getattr(pl_module, "synthetic", None)
        if not isinstance(synthetic, SyntheticSet):
            raise ValueError(f"{type(pl_module).__name__} has no synthetic set; use StudentEvaluation(set=...)")
        return exported_set(synthetic)

    def _see(self, pl_module: LightningModule, batch: Any) -> None:
        if self._sitting is None:
            return
        x, y = batch
        synthetic = getattr(pl_module, "synthetic", None)
        spec = self._given.spec if self._given is not None else synthetic.spec  # type: ignore[union-attr]
        if tuple(x.shape[1:]) != spec.shape:
            raise ValueError(f"the set's images are {spec.shape}, the loader's {tuple(x.shape[1:])} (C, H, W)")
        if isinstance(synthetic, SyntheticSet):
            x = synthetic.spec.normalize(x)
        for sitting in (self._sitting, self._random_sitting):
            if sitting is not None:
                sitting.update(x, y)

    def _log(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        assert self._sitting is not None
        self.scores[stage] = scores = self._sitting.scores()
        if self.figures and (wandb := [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]):
            draw(wandb, stage, self._sitting.predictions(stage), trainer.global_step)
        if self._random_sitting is not None:
            self._random_acc[self._key] = self._random_sitting.scores().mean("acc")
        self._sitting = self._random_sitting = None
        values = {name: scores.mean(name) for name in scores.students[0]}
        if len(scores.students) > 1:
            values["acc_std"] = scores.std("acc")
        if self._key in self._random_acc:
            values["gain_random"] = values["acc"] - self._random_acc[self._key]
        if len(self.exam.architectures) > 1:
            values.update({f"acc/{name}": scores.mean("acc", name) for name in self.exam.architectures})
        pl_module.log_dict({f"{stage}/{name}": value for name, value in values.items()}, prog_bar=False)
        gain = f", {values['gain_random']:+.4f} above random" if "gain_random" in values else ""
        taken = f"{len(scores.students)} students, {scores.seconds:.0f} s"
        rank_zero_info(f"{stage}/acc {values['acc']:.4f}{gain} ({taken})")


def draw(loggers: Sequence[WandbLogger], stage: str, said: Predictions, step: int) -> None:
    """The figures of `report.figures` as ``val/confusion``, ``val/reliability`` and ``val/recall``."""
    from lightning_distill.report import figures  # matplotlib and scikit-learn, for those who look

    for name, figure in figures(said).items():
        for logger in loggers:
            logger.log_image(f"{stage}/{name}", [figure], step=step)


def exported_set(synthetic: SyntheticSet) -> LabeledSet:
    """What is shipped of a set, on the CPU: pixels, labels, and what else the method has learned."""
    soft = None if synthetic.soft_label_logits is None else synthetic.targets().detach().cpu()
    lr = None if synthetic.lr is None else float(synthetic.lr.detach())
    return LabeledSet(synthetic.pixels().cpu(), synthetic.labels.cpu(), synthetic.spec, soft, lr)


def _as_training_set(given: str | tuple[Tensor, Tensor] | None) -> LabeledSet | None:
    if given is None:
        return None
    if isinstance(given, str):
        data, _ = read_set(given)
        images, labels, names = data.spec.normalize(data.pixels), data.labels, data.spec.class_names
        augmentation, learned, several = data.spec.augmentation, (data.soft_labels, data.lr), data.spec.combinations
    else:
        images, labels = given[0].detach().float().cpu(), given[1].detach().cpu().long()
        augmentation, learned, several = "dsa", (None, None), ()
        if labels.ndim == 2 and labels.shape[1] > 1:
            several = frequent_combinations(labels.numpy(), least=1)
            names, labels = (
                tuple(map(str, range(labels.shape[1]))),
                torch.from_numpy(combination_indices(labels.numpy(), several)),
            )
        else:
            labels = labels.flatten()
            names = tuple(str(c) for c in range(int(labels.max()) + 1))
    if images.ndim != 4 or len(images) != len(labels):
        raise ValueError(f"a set is images (N, C, H, W) and labels (N,); got {images.shape} and {labels.shape}")
    if len(names) < 2:
        raise ValueError("the given set has one class only; students need at least two")
    channels = images.shape[1]
    spec = DataSpec(
        name="given set",
        shape=(channels, images.shape[2], images.shape[3]),
        class_names=names,
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
        min_value=float(images.min()),
        max_value=float(images.max()),
        storage_dtype="float16",
        augmentation=augmentation,
        task="multi-label" if several else "multi-class",
        combinations=several,
    )
    return LabeledSet(images, labels, spec, *learned)


def _all_ranks_see_all(trainer: Trainer) -> bool:
    """Whether the loader that runs now gives every rank all images; ``trainer.val_dataloaders`` may be a fit's."""
    loader = trainer._evaluation_loop._combined_loader
    return loader is not None and isinstance(loader.iterables, SequentialLoader)


def _baseline_key(data: LabeledSet, exam: StudentEvaluator) -> str:
    """Everything a random subset's score depends on beside the stage, as text: a change of any of it measures anew."""
    counts = torch.bincount(data.labels, minlength=len(data.spec.balance_groups)).tolist()
    return f"{data.spec.name} {counts}, {exam.protocol}, {exam.architectures}, {exam.seeds}"


def _real_images(trainer: Trainer, spec: DataSpec) -> ArrayDataModule | None:
    """The real training images: the distiller's data module, or a foreign one read once in the space it gives."""
    datamodule: LightningDataModule | None = trainer.datamodule  # type: ignore[attr-defined]
    if isinstance(datamodule, ArrayDataModule):
        return datamodule
    loader: Any = trainer.train_dataloader
    if datamodule is None and loader is None:
        rank_zero_warn("no training data at hand: gain_random is not measured; give the Trainer a datamodule")
        return None
    with isolated_rng(0):
        batches = list(datamodule.train_dataloader() if datamodule is not None else loader)
        x, y = torch.cat([b[0] for b in batches]), torch.cat([b[1].flatten() for b in batches])
    return ArrayDataModule((x.float().numpy(), y.numpy()), class_names=spec.class_names, channels="first")
