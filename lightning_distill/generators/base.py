"""The base class of all generators: data, average of the weights, checkpoints, and sampling."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from lightning_distill.checkpoints.relative_paths import restore_paths, strip_paths
from lightning_distill.checkpoints.verified_io import is_fitting, use_verified_checkpoints
from lightning_distill.generators.average import Decay, averaged
from lightning_distill.generators.checks import as_rows, require_real_images, validate_classes, validate_trainer
from lightning_distill.sets.same_data import check_same_data
from lightning_distill.sets.training_images import ENTRY, hash_training_images
from lightning_distill.spec import DataSpec
from lightning_distill.utils.arguments import changed_settings, check_choices, check_number
from lightning_distill.utils.precision import warn_if_emulated
from lightning_distill.utils.rng import derive_seed, isolated_rng

#: Number of images that are drawn at once.
CHUNK = 256


class Generator(LightningModule, ABC):
    """Base class of a generator: a LightningModule that learns real images and draws images of given labels.

    A generator implements `build_networks`, which sets ``network`` and what else it trains, `render`, ``noise_shape``,
    ``training_step`` and ``configure_optimizers``, and calls `update_average` after each step. The random numbers of
    step k depend on (seed, k) alone, so a resumed run equals a whole one.

    Attributes:
        spec: Specification of the training data. Known after `setup`, and kept in checkpoints.
        group_counts: Number of training images of each `DataSpec.balance_groups`.
        network: Network whose weights are averaged.
        average: Exponential moving average of the network, from which images are drawn.
        training_images: Hashes of the training images, see `sets.training_images`; cards of generated sets hold them.
        trained_steps: Steps of training, those of the checkpoint where it was loaded.
        uniform_batch_size: Number of images in a training batch, which `ArrayDataModule` draws uniformly.
    """

    #: Arguments that change the drawing of images and not the training.
    sampling_args: ClassVar[Sequence[str]] = ()

    spec: DataSpec
    network: nn.Module
    average: AveragedModel

    def __init__(self, *, batch_size: int, lr: float, seed: int) -> None:
        super().__init__()
        self.save_hyperparameters()
        check_choices(type(self).__init__, self.hparams)
        for name in ("batch_size", "seed"):
            check_number(name, self.hparams[name], 1 if name == "batch_size" else 0, integer=True)
        check_number("lr", lr, 0, open_low=True)
        self.uniform_batch_size, self.lr, self.seed = batch_size, lr, seed
        self.group_counts: list[int] = []
        self.training_images: list[dict[str, object]] = []
        self._loaded_steps = 0

    def __repr__(self) -> str:
        """Return the settings that differ from the defaults, and the data, in one line."""
        names = [name for name in inspect.signature(type(self)).parameters if name in self.hparams]
        plain = {name: _hashable(self.hparams[name]) for name in names}
        shown = changed_settings(type(self), plain)
        parts = [f"{name}={_plain(value)!r}" for name, value in shown.items()]
        data = [f"{self.spec.name} {'x'.join(map(str, self.spec.shape))}"] if hasattr(self, "spec") else []
        return f"{type(self).__name__}({', '.join([*parts, *data])})"

    @property
    @abstractmethod
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of the noise that an image is made from."""

    @abstractmethod
    def build_networks(self, spec: DataSpec) -> None:
        """Set the networks that are trained; ``self.network`` is the one that is averaged.

        Args:
            spec: Specification of the training data.
        """

    @abstractmethod
    def render(self, noise: Tensor, rows: Tensor) -> Tensor:
        """Return normalised images from the averaged weights.

        Args:
            noise: Standard normal numbers ``(N, *noise_shape)``.
            rows: Label rows ``(N, K)``.

        Returns:
            Images ``(N, C, H, W)``.
        """

    @abstractmethod
    def decay(self) -> Decay:
        """Return the decay of the average."""

    @property
    def trained_steps(self) -> int:
        """Number of training steps that made the weights."""
        return self.global_step if self._trainer is not None else self._loaded_steps

    def sampling_record(self) -> dict[str, object]:
        """Return the settings that drew an image, for cards."""
        return {name: getattr(self, name) for name in self.sampling_args}

    def build(self, spec: DataSpec) -> None:
        """Make the networks of the data, with weights that depend on the seed alone.

        Args:
            spec: Specification of the training data.
        """
        with isolated_rng(derive_seed(self.seed, "networks")):
            self.build_networks(spec)
        self.average = averaged(self.network, self.decay())
        self.spec = spec

    def setup(self, stage: str) -> None:
        """Read shape, classes and statistics from the data, and make the networks unless a checkpoint brought them."""
        datamodule = require_real_images(self.trainer.datamodule)  # type: ignore[attr-defined]
        validate_trainer(self.trainer)
        use_verified_checkpoints(self.trainer, fall_back=stage == "fit")
        if "bf16" in str(self.trainer.precision):
            warn_if_emulated(self.trainer.strategy.root_device)
        images, labels = datamodule.all_train_arrays()
        validate_classes(datamodule.spec, labels)
        if hasattr(self, "spec"):
            self.require_same_data(datamodule.spec)
        else:
            self.build(datamodule.spec)
        groups = len(datamodule.spec.balance_groups)
        self.group_counts = np.bincount(datamodule.train_arrays()[1], minlength=groups).tolist()
        self.training_images = hash_training_images(images)

    def require_same_data(self, spec: DataSpec) -> None:
        """Raise ValueError for data of another shape, channels, class list or task than those of the generator.

        Args:
            spec: Specification of the data.
        """
        advice = "train a generator on these data"
        check_same_data(self.spec, spec, f"this {type(self).__name__} of {self.spec.name}", spec.name, advice)

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Do nothing: `GeneratorProgress` compares drawn images with the validation split."""

    def update_average(self) -> None:
        """Add the weights of the network to their moving average; call it after each step of the optimizer."""
        self.average.update_parameters(self.network)

    def require_finite(self, name: str, *values: Tensor) -> None:
        """Raise FloatingPointError for a loss or gradient that is infinite or not a number.

        Args:
            name: Log key of the loss.
            *values: Losses and norms of gradients.
        """
        if not all(bool(value.isfinite()) for value in values):
            raise FloatingPointError(
                f"{name} or its gradient is not finite at step {self.global_step}; the last checkpoint is kept: resume "
                f"from it, or start again with less than lr={self.lr}"
            )

    @torch.no_grad()
    def sample(self, targets: Tensor, *, seed: int, chunk: int | None = None, first: int = 0) -> Tensor:
        """Draw one image for each row of targets.

        Image i depends on (seed, i) and its targets alone, whatever the chunk (up to rounding of the arithmetic).

        Args:
            targets: One- or multi-hot rows ``(N, K)``, or class numbers ``(N,)``.
            seed: Seed of the images.
            chunk: Number of images at once; default: 256.
            first: Number i of the first image, for a caller that draws in parts.

        Returns:
            Images ``(N, C, H, W)`` float32 on the CPU in pixel units, within the range of the spec.

        Raises:
            ValueError: The targets are of other classes.
        """
        rows, chunk = as_rows(targets, self.spec), chunk or CHUNK
        device = next(self.average.parameters()).device
        parts = []
        for start in range(0, len(rows), chunk):
            part = rows[start : start + chunk].to(device)
            noise = self._noise(seed, first + start, len(part)).to(device)
            with torch.autocast(device.type, enabled=False):
                pixels = self.spec.denormalize(self.render(noise, part))
            parts.append(pixels.clamp(self.spec.min_value, self.spec.max_value).cpu())
        return torch.cat(parts) if parts else torch.empty(0, *self.spec.shape)

    def _noise(self, seed: int, first: int, count: int) -> Tensor:
        """Return the noise ``(count, *noise_shape)`` of consecutive images, drawn on the CPU."""
        draws = []
        for number in range(first, first + count):
            random = torch.Generator().manual_seed(derive_seed(seed, "image", number))
            draws.append(torch.randn(self.noise_shape, generator=random))
        return torch.stack(draws)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the kind of generator and the description of its data; no path of this machine."""
        if "callbacks" in checkpoint:
            checkpoint["callbacks"] = strip_paths(checkpoint["callbacks"])
        checkpoint["generator"] = type(self).__name__
        checkpoint["spec"] = self.spec.to_dict()
        checkpoint["group_counts"], checkpoint[ENTRY] = self.group_counts, self.training_images

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make the networks of the checkpoint, or check that they are those of the run.

        Raises:
            ValueError: The checkpoint is of another generator, of other settings or of other data.
        """
        if is_fitting(self):
            restore_paths(checkpoint.get("callbacks", {}), self.trainer)
        name = checkpoint.get("generator", checkpoint.get("method", "another model"))
        if name != type(self).__name__:
            raise ValueError(f"the checkpoint is of {name}, not of {type(self).__name__}; give one of this generator")
        spec = DataSpec.from_dict(checkpoint["spec"])
        if hasattr(self, "spec"):
            self.require_same_data(spec)
            self._require_same_settings(checkpoint.get(self.CHECKPOINT_HYPER_PARAMS_KEY, {}))
        else:
            self.build(spec)
        self.group_counts, self.training_images = list(checkpoint["group_counts"]), list(checkpoint.get(ENTRY, []))
        self._loaded_steps = int(checkpoint["global_step"])

    def _require_same_settings(self, saved: Mapping[str, Any]) -> None:
        for name, value in self.hparams.items():
            same = name not in saved or name in self.sampling_args or name.startswith("_")
            if not same and _plain(saved[name]) != _plain(value):
                raise ValueError(
                    f"the checkpoint was made with {name}={saved[name]!r} (now {value!r}); use the same to resume, or "
                    "start a new run without the checkpoint"
                )


def _hashable(value: Any) -> Any:
    """Return lists as tuples, which they are in the defaults of arguments."""
    return tuple(value) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    """Return sequences as lists, which they are in a configuration."""
    return list(value) if isinstance(value, list | tuple) else value
