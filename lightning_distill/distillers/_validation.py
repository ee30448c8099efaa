"""Checks of options, data and gradients, and hints about speed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from lightning import Trainer
from lightning.pytorch.callbacks import LearningRateFinder
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from numpy.typing import NDArray
from torch import Tensor

from lightning_distill.augmentation.presets import PRESETS
from lightning_distill.distillers.presets import find_preset
from lightning_distill.functional.network import FunctionalNetwork
from lightning_distill.networks import check_network
from lightning_distill.sets.card import LATENT, LATENT_UNTRAINED
from lightning_distill.sets.synthetic import INIT_METHODS, SyntheticSet
from lightning_distill.spec import DataSpec
from lightning_distill.utils.arguments import check_choices, check_number
from lightning_distill.utils.precision import warn_if_emulated

#: Share of a class's images above which a set counts as large for it, and number of images below which a class is rare.
LARGE_SHARE, RARE_IMAGES = 0.1, 50


def validate_options(method: type, options: Mapping[str, Any], network: str) -> None:
    """Raise a ValueError for an option that is out of range or unknown, before any data is read.

    Args:
        method: Class of the distiller.
        options: Hyperparameters of the distiller.
        network: Name of the network, without a path of weights.
    """
    ipc = options["ipc"]
    counts = list(ipc) if isinstance(ipc, (list, tuple)) else [ipc]
    if any(not isinstance(count, int) or isinstance(count, bool) for count in counts):
        raise ValueError(f"ipc={ipc!r}; it must be an integer, or one integer for each class")
    if min(counts, default=0) < 1:
        raise ValueError(f"ipc={ipc}; every class needs at least 1 image")
    for kind in method.__mro__:
        if "__init__" in vars(kind) and kind.__module__.partition(".")[0] == __name__.partition(".")[0]:
            check_choices(kind.__init__, options)  # type: ignore[misc]
    for name in (name for name in options if name in ("momentum", "gradient_clip") or name.endswith("lr")):
        if options[name] is not None:
            high = 1 if name == "momentum" else math.inf
            check_number(name, options[name], 0, high, open_low=name == "gradient_clip")
    for name, known in (("init", INIT_METHODS), ("augmentation", PRESETS)):
        if options.get(name) is not None and options[name] not in known:
            raise ValueError(f"unknown {name} {options[name]!r}; use one of {', '.join(known)}")
    for name in ("chunk", "formation"):
        if options.get(name) is not None:
            check_number(name, options[name], 1, integer=True)
    check_number("seed", options.get("seed", 0), 0, integer=True)
    check_network(network)


def validate_trainer(trainer: Trainer) -> None:
    """Raise a ValueError for a tool or precision of Lightning that a distiller does not support.

    Args:
        trainer: Trainer of the run.
    """
    callbacks: list[object] = trainer.callbacks  # type: ignore[attr-defined]
    if any(isinstance(callback, LearningRateFinder) for callback in callbacks):
        raise ValueError(
            "lr_find cannot set the learning rate of a distiller, which optimises manually; compare a few values of lr "
            "by val/acc, e.g. by `lightning-distill distill`"
        )
    if str(trainer.precision) in ("64-true", "bf16-true"):
        raise ValueError(
            f"precision={trainer.precision}: the images of a distiller are float32; use 32-true or bf16-mixed"
        )


def validate_data(spec: DataSpec, precision: object, present: SyntheticSet | None) -> None:
    """Raise a ValueError for a precision that is not supported, or data that do not fit the set of the distiller.

    Args:
        spec: Description of the data.
        precision: Precision of the trainer.
        present: Set of the distiller from an earlier fit or a checkpoint; ``None`` where it has none yet.
    """
    if str(precision).startswith("16"):
        raise ValueError(f"precision={precision} underflows the small gradients of distillation; use bf16-mixed")
    if present is not None and (present.spec.shape, present.spec.class_names) != (spec.shape, spec.class_names):
        raise ValueError(
            f"this distiller holds a set for {present.spec.name} {present.spec.shape}, not for {spec.name} "
            f"{spec.shape}; make a new distiller"
        )


def validate_finite(loss: Tensor, gradients: Sequence[Tensor | None], step: int, lr: float) -> None:
    """Raise a FloatingPointError for a loss or gradient that is infinite or not a number."""
    if not all(value is not None and value.isfinite().all() for value in (loss, *gradients)):
        raise FloatingPointError(
            f"distill/loss or its gradient is not finite at step {step} (loss {loss.item()}); the last checkpoint is "
            f"kept: resume from it, or start again with less than lr={lr}"
        )


def log_performance_hints(network: FunctionalNetwork, trainer: Trainer) -> None:
    """Announce the compilation of the network, and warn where bf16 is emulated and slow."""
    if "bf16" in str(trainer.precision):
        warn_if_emulated(trainer.strategy.root_device)
    if network.compiled:
        rank_zero_info(
            "compiling the network: the first steps take up to a minute longer, less where it was done before"
        )


def warn_if_few_steps(method: type, preset: str, ipc: int | Sequence[int], spec: DataSpec, trainer: Trainer) -> None:
    """Warn where a run has fewer steps than the least useful number of `distillers.presets.PRESETS`.

    Args:
        method: Class of the distiller.
        preset: Preset of the distiller.
        ipc: Images per class.
        spec: Specification of the data.
        trainer: Trainer of the run.
    """
    row, steps = find_preset(method, preset, ipc, spec), trainer.estimated_stepping_batches
    if row is None or steps >= row.min_steps or trainer.fast_dev_run:  # type: ignore[attr-defined]
        return
    way_out = "or use preset='default'" if preset == "paper" else "or use `coreset` where real images may be shared"
    rank_zero_warn(
        f"{int(steps)} steps are far fewer than the {row.min_steps} that {method.__name__} with preset={preset!r} "
        f"needs ({row.evidence}): the set may be no better than its start; raise trainer.max_steps, {way_out}"
    )


def warn_of_exposure(init: str, synthetic: SyntheticSet, labels: NDArray[np.int64], trainer: Trainer) -> None:
    """Name in one line what makes a set reveal more of its training images, with the command that measures it.

    Args:
        init: Start of the images, see `sets.card.make_card`.
        synthetic: The set at its start.
        labels: Balance group of each training image.
        trainer: Trainer of the run.
    """
    reasons = exposure_reasons(init, synthetic, labels)
    if reasons and not trainer.fast_dev_run:  # type: ignore[attr-defined]
        rank_zero_warn(
            f"the set may show training images: {'; '.join(reasons)}. Measure it before sharing: "
            "`lightning-distill audit-set CONFIG.yaml`"
        )


def exposure_reasons(init: str, synthetic: SyntheticSet, labels: NDArray[np.int64]) -> list[str]:
    """Return the reasons why a set may reveal more of its training images than others; empty for none.

    Args:
        init: Start of the images, see `sets.card.make_card`.
        synthetic: The set at its start.
        labels: Balance group of each training image.
    """
    names, reasons = synthetic.spec.balance_groups, []
    available = np.bincount(labels, minlength=len(names))
    if init == LATENT:
        reasons.append("its generator was trained on training images")
    elif init not in ("noise", LATENT_UNTRAINED):
        reasons.append(f"it starts from real images (init={init!r})")
    shares = np.array(synthetic.counts) / np.maximum(available, 1)
    largest, rarest = int(shares.argmax()), int(available.argmin())
    if shares[largest] > LARGE_SHARE:
        count = synthetic.counts[largest]
        reasons.append(f"{count} images stand for the {available[largest]} of class {names[largest]!r}")
    if available[rarest] < RARE_IMAGES and not (rarest == largest and shares[largest] > LARGE_SHARE):
        reasons.append(f"class {names[rarest]!r} has {available[rarest]} training images")
    if synthetic.soft_label_logits is not None:
        reasons.append("it holds soft labels")
    return reasons
