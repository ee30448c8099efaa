"""Distillation in a generator's latent space: features of a middle layer are learned in place of pixels (GLaD)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lightning_distill.checkpoints.verified_io import is_fitting
from lightning_distill.distillers._checkpoint import CheckpointMixin
from lightning_distill.generators import GANGenerator, load_generator
from lightning_distill.sets.card import LATENT, LATENT_UNTRAINED
from lightning_distill.sets.synthetic import SyntheticSet
from lightning_distill.spec import DataSpec
from lightning_distill.utils.rng import derive_seed, isolated_rng

#: Value of ``latent`` for a generator with random weights, and the beginning of a recorded digest.
UNTRAINED, RECORDED = "untrained", "sha256:"
#: Largest absolute value of a feature at the start, and number of images whose graph is in memory at once.
CLIP, CHUNK = 10.0, 32
#: Learning rate of the features by method. DM, DC and DSA, and MTT: GLaD's; the others were not measured.
RATES = {"DMDistiller": 10.0, "DCDistiller": 1.0, "MTTDistiller": 10_000.0, "IDMDistiller": 10.0}


class LatentSpace:
    """Features after the 8-pixel stage of a frozen `GANGenerator`, and the images that it makes of them.

    Args:
        source: Path of the generator's checkpoint, ``untrained``, or the digest that a checkpoint of the run holds.
        seed: Seed of the noise at the start, and of the weights of an untrained generator.
        chunk: Number of images whose graph is in memory at once; ``None`` takes 32.

    Raises:
        FileNotFoundError: The checkpoint does not exist.
        ValueError: The checkpoint is of no generator with a middle layer.
    """

    def __init__(self, source: str | os.PathLike[str], *, seed: int, chunk: int | None = None) -> None:
        self.seed, self.chunk = seed, chunk or CHUNK
        self.generator: GANGenerator | None = None
        self.name = os.fspath(source)
        if not self.name.startswith(RECORDED) and self.name != UNTRAINED:
            self.generator = load_latent_generator(source)
            self.name = RECORDED + weights_digest(self.generator)

    def fit_to(self, spec: DataSpec) -> GANGenerator:
        """Return the generator, after it was checked against the data, or made for them where it is untrained.

        Args:
            spec: Specification of the data.

        Raises:
            ValueError: The generator was trained on data of another shape, class list or task, or is not there.
        """
        if self.generator is None and self.name != UNTRAINED:
            raise ValueError(
                f"the images are learned in the latent space of a generator ({self.name[:19]}...); give its checkpoint "
                "with latent=PATH"
            )
        if self.generator is None:
            self.generator = untrained_generator(spec, self.seed)
        self.generator.require_same_data(spec)
        return self.generator

    def record(self, spec: DataSpec) -> dict[str, object]:
        """Return the entry ``latent`` of a card: the generator, and whether it saw real images.

        Args:
            spec: Specification of the data.
        """
        generator = self.fit_to(spec)
        return {
            "generator": type(generator).__name__,
            "weights_sha256": weights_digest(generator),
            "training_steps": generator.trained_steps,
            "generator_saw_real_images": generator.trained_steps > 0,
            "layer": "features after the 8-pixel stage",
        }

    @torch.no_grad()
    def start(self, synthetic: SyntheticSet) -> None:
        """Give a set the features of random noise of its classes, clipped, and the images made of them.

        Args:
            synthetic: Set with labels.
        """
        generator, labels = self.fit_to(synthetic.spec), synthetic.labels
        shape = (len(labels), *generator.noise_shape)
        z = torch.randn(shape, generator=torch.Generator().manual_seed(derive_seed(self.seed, "latent")))
        parts = zip(z.split(self.chunk), synthetic.spec.targets(labels).split(self.chunk), strict=True)
        synthetic.latents = torch.cat([generator.middle(*part) for part in parts]).clamp(-CLIP, CLIP)
        self.render(synthetic)

    @torch.no_grad()
    def render(self, synthetic: SyntheticSet) -> None:
        """Replace the images of a set by those of its features, without a graph."""
        rows = synthetic.learned.split(self.chunk)
        synthetic.images.copy_(torch.cat([self.images(features, synthetic.spec) for features in rows]))

    def backpropagate(self, synthetic: SyntheticSet) -> Tensor:
        """Turn the gradient of the images into that of the features, and return the features.

        A chunk of images is made again with a graph, which gets the gradient of its pixels; memory holds one chunk.

        Args:
            synthetic: Set with ``images.grad``, which is removed.
        """
        features, gradient, parts = synthetic.learned, synthetic.images.grad, []
        assert gradient is not None
        for part, by_pixels in zip(features.split(self.chunk), gradient.split(self.chunk), strict=True):
            leaf = part.detach().requires_grad_()
            parts += torch.autograd.grad(self.images(leaf, synthetic.spec), leaf, by_pixels)
        features.grad, synthetic.images.grad = torch.cat(parts), None
        return features

    def images(self, features: Tensor, spec: DataSpec) -> Tensor:
        """Return images, normalised by the statistics of the data, from features; differentiable.

        Args:
            features: Features ``(N, F, h, w)``.
            spec: Specification of the data.
        """
        generator = self.fit_to(spec).to(features.device)
        with torch.autocast(features.device.type, enabled=False):
            return spec.normalize(generator.spec.denormalize(generator.from_middle(features)))


class LatentMixin(CheckpointMixin):
    """Module whose images may be made from features in a generator, which the optimizer updates in their place.

    A method computes gradients of images as always; they become gradients of features before the step.

    Attributes:
        latent_space: Latent space of the run, or None where pixels are learned.
        latent_record: Entry ``latent`` of the card, empty where pixels are learned; a checkpoint holds it.
    """

    seed: int
    latent_space: LatentSpace | None = None
    latent_record: Mapping[str, object] = {}

    def use_latent(self, latent: str | os.PathLike[str], seed: int, chunk: int | None) -> None:
        """Learn features of a generator in place of pixels.

        Args:
            latent: Path of the generator's checkpoint, or ``untrained``.
            seed: Seed of the run.
            chunk: Number of images whose graph is in memory at once.

        Raises:
            ValueError: An argument that was given contradicts it.
        """
        if (formation := self.explicit.get("formation", 1)) != 1:
            raise ValueError(f"formation={formation}, but latent makes whole images; use formation=1, or leave it out")
        if (init := self.explicit.get("init", "noise")) != "noise":
            raise ValueError(f"init={init!r}, but with latent the images begin in the generator; leave init out")
        self.latent_space = LatentSpace(latent, seed=seed, chunk=chunk)
        self.save_hyperparameters({"latent": self.latent_space.name})

    @property
    def image_start(self) -> str:
        """Start of the images for the card, see `sets.card.make_card`."""
        if not self.latent_record:
            return self.init
        return LATENT if self.latent_record["generator_saw_real_images"] else LATENT_UNTRAINED

    def set_preset_arguments(self, values: dict[str, Any]) -> None:
        """Set a preset's values, with rate and start of latent features where those are learned."""
        if self.latent_space is not None:
            rates = [RATES[kind.__name__] for kind in type(self).__mro__ if kind.__name__ in RATES]
            values = values | {"lr": rate for rate in rates[:1]} | {"init": "noise", "formation": 1}
        super().set_preset_arguments(values)

    def start_latents(self, synthetic: SyntheticSet) -> SyntheticSet:
        """Return a set with features and their images where features are learned, else the set as it is."""
        if self.latent_space is not None:
            self.latent_space.start(synthetic)
        return synthetic

    def learned_tensors(self) -> list[Tensor]:
        """Return what the optimizer updates, with gradients; gradients of images become those of features."""
        images, *others = self.synthetic.parameters()
        return [images if self.latent_space is None else self.latent_space.backpropagate(self.synthetic), *others]

    def render_latents(self) -> None:
        """Make the images of the features after a step, where features are learned."""
        if self.latent_space is not None:
            self.latent_space.render(self.synthetic)

    def generator_images(self) -> list[dict[str, object]]:
        """Return the hashes of the images that the generator was trained on, see `sets.training_images`."""
        generator = None if self.latent_space is None else self.latent_space.generator
        return [] if generator is None or not generator.trained_steps else generator.training_images

    def check_latents(self, spec: DataSpec) -> None:
        """Check the generator of the run against the data and the set before a fit.

        Raises:
            ValueError: The generator does not fit, or the set was learned with or without one.
        """
        learned = self.synthetic.latents is not None
        if learned != (self.latent_space is not None):
            raise ValueError(
                "the set was learned in the latent space of a generator; give its checkpoint with latent=PATH"
                if learned
                else "the images of the set are learned as pixels; leave latent out, or make a new distiller"
            )
        if self.latent_space is not None:
            self._take_record(self.latent_space.record(spec))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the record of the generator too; its path and its weights stay out."""
        super().on_save_checkpoint(checkpoint)
        if self.latent_record:
            checkpoint["latent"] = dict(self.latent_record)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make room for the features of the checkpoint.

        Raises:
            ValueError: The run that resumes has another generator, or none.
        """
        record, latent = checkpoint.get("latent", {}), "synthetic.latents" in checkpoint["state_dict"]
        synthetic = getattr(self, "synthetic", None)
        if synthetic is not None and latent != (synthetic.latents is not None):
            if is_fitting(self):
                made = f"with latent ({record['weights_sha256'][:12]}...)" if latent else "without latent"
                raise ValueError(f"the checkpoint was made {made}, which cannot change within a run; use the same")
            del self.synthetic
        if latent:
            self._take_record(record)
        super().on_load_checkpoint(checkpoint)

    def _take_record(self, record: Mapping[str, object]) -> None:
        """Set the record, after comparing its weights with those of the record that is there."""
        before = self.latent_record.get("weights_sha256", record["weights_sha256"])
        if before != record["weights_sha256"]:
            raise ValueError(
                f"the weights of the generators differ: {str(before)[:12]}... and {str(record['weights_sha256'])[:12]}"
                "...; give latent (and seed, where it is untrained) of the run that made the checkpoint"
            )
        self.latent_record = record


def load_latent_generator(path: str | os.PathLike[str]) -> GANGenerator:
    """Load a generator whose middle layer can be learned in.

    Args:
        path: Checkpoint of a `GANGenerator`.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: It is of another generator, or its labels enter after the middle layer.
    """
    generator = load_generator(path)
    if not isinstance(generator, GANGenerator):
        raise ValueError(
            f"latent={os.fspath(path)} is a {type(generator).__name__}, which has no middle layer; give the checkpoint "
            "of a GANGenerator"
        )
    generator.require_middle()
    return generator.eval()


def untrained_generator(spec: DataSpec, seed: int) -> GANGenerator:
    """Return a `GANGenerator` with random weights, made for the shape and classes of the data.

    The last convolution of each block, zero at the start of a training, is random too: without it the images have no
    detail below 8 pixels.

    Args:
        spec: Specification of the data.
        seed: Seed of the weights.
    """
    generator = GANGenerator(seed=seed)
    generator.build(spec)
    with isolated_rng(derive_seed(seed, "untrained")):
        for block in generator.average.module.blocks:
            block.last.reset_parameters()
    return generator.eval()


def weights_digest(generator: GANGenerator) -> str:
    """Return the sha256 of the averaged weights, from which images are made.

    Args:
        generator: Generator with networks.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(generator.average.module.state_dict().items()):
        digest.update(name.encode() + str(tuple(tensor.shape)).encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
