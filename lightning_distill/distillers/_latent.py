"""Latent space of a run: arguments, checkpoint, and the step of features in place of images."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lightning_distill.checkpoints.verified_io import is_fitting
from lightning_distill.distillers._checkpoint import CheckpointMixin
from lightning_distill.distillers.latent import UNTRAINED, LatentSpace
from lightning_distill.sets.card import LATENT, LATENT_UNTRAINED
from lightning_distill.sets.synthetic import SyntheticSet
from lightning_distill.spec import DataSpec

#: Learning rate of the features by method with a trained generator; for DM, DC and DSA GLaD's. That of MTT, 10,000, is
#: lowered: it saturated images of 28 pixels. Starting points, set in short trials and not by a benchmark.
RATES = {"DMDistiller": 10.0, "DCDistiller": 1.0, "MTTDistiller": 100.0, "IDMDistiller": 2.0}
#: Share of the rates for an untrained generator, whose derivatives are larger; set in a short trial of DM.
UNTRAINED_SHARE = 0.3


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
            share = UNTRAINED_SHARE if self.latent_space.name == UNTRAINED else 1.0
            values = values | {"init": "noise", "formation": 1} | ({"lr": share * rates[0]} if rates else {})
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
