"""Distillation in a generator's latent space: features of a middle layer are learned in place of pixels (GLaD)."""

from __future__ import annotations

import os
from contextvars import Context

import torch
from torch import Tensor, nn

from lightning_distill.generators import GANGenerator, load_generator
from lightning_distill.generators.residual_gan import SLOPE
from lightning_distill.sets.synthetic import SyntheticSet
from lightning_distill.spec import DataSpec
from lightning_distill.utils.rng import derive_seed, isolated_rng
from lightning_distill.utils.tensor_digest import tensors_digest

#: Value of ``latent`` for a generator with random weights, and the beginning of a recorded digest.
UNTRAINED, RECORDED = "untrained", "sha256:"
#: Largest absolute value of a feature at the start, and number of images whose graph is in memory at once.
CLIP, CHUNK = 10.0, 32
#: Images of noise that set the scale of an untrained generator.
PROBES = 64


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


def load_latent_generator(path: str | os.PathLike[str]) -> GANGenerator:
    """Load a generator whose middle layer can be learned in.

    Args:
        path: Checkpoint of a `GANGenerator`.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: It is of another generator, or its labels enter after the middle layer.
    """
    # an empty context: the command line gives the arguments of the distiller to every module made meanwhile
    generator = Context().run(load_generator, path)
    if not isinstance(generator, GANGenerator):
        raise ValueError(
            f"latent={os.fspath(path)} is a {type(generator).__name__}, which has no middle layer; give the checkpoint "
            "of a GANGenerator"
        )
    generator.require_middle()
    return generator.eval()


def untrained_generator(spec: DataSpec, seed: int) -> GANGenerator:
    """Return a `GANGenerator` with random weights, made for the shape and classes of the data.

    All layers are random, with those that are zero at the start of a training: without them the images have no detail
    below 8 pixels. Features of noise have the standard deviation 1, images the mean 0 and the standard deviation 1.

    Args:
        spec: Specification of the data.
        seed: Seed of the weights.
    """
    generator = GANGenerator(seed=seed)
    generator.build(spec)
    network = generator.require_middle()
    with isolated_rng(derive_seed(seed, "untrained")), torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, SLOPE)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        groups = torch.arange(PROBES) % len(spec.balance_groups)
        features = generator.middle(torch.randn(PROBES, *generator.noise_shape), spec.targets(groups))
        network.first.weight /= features.std()  # without biases all layers are homogeneous
        images = generator.from_middle(features / features.std())
        network.last.weight /= images.std()
        nn.init.zeros_(network.last.bias).sub_(images.mean((0, 2, 3)) / images.std())  # type: ignore[arg-type]
    return generator.eval()


def weights_digest(generator: GANGenerator) -> str:
    """Return the sha256 of the averaged weights, from which images are made.

    Args:
        generator: Generator with networks.
    """
    return tensors_digest(generator.average.module.state_dict())
