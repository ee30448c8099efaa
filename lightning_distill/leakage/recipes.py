"""Recipes that are audited: a distillation as its configuration says, picked real images, or all real images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_distill.callbacks.evaluated_set import exported_set
from lightning_distill.data import ArrayDataModule
from lightning_distill.data.checks.label_combinations import is_covered
from lightning_distill.distillers import Distiller
from lightning_distill.distillers.quiet import quiet, quiet_trainer
from lightning_distill.evaluation.baselines import full_data
from lightning_distill.evaluation.label_prior import Prior
from lightning_distill.evaluation.relabel import relabel
from lightning_distill.sets.adapt import to_stored_dtype
from lightning_distill.sets.coresets import check_method, select
from lightning_distill.sets.formation import encode
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.synthetic import SyntheticSet, images_per_class

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class MadeSet:
    """A set made by a recipe.

    Args:
        data: The set as it would be shipped.
        origins: Rows of the training images that its images started from, or are; empty for none.
    """

    data: LabeledSet
    origins: Rows = field(default_factory=lambda: np.empty(0, np.int64))


class Recipe(Protocol):
    """Way to make a set from real data."""

    @property
    def name(self) -> str:
        """Name in tables and of the folder of its shadow sets."""
        ...

    @property
    def ships_images(self) -> bool:
        """Whether the set holds images that can be compared with real ones; all real data are not shipped."""
        ...

    def make(self, data: ArrayDataModule) -> MadeSet:
        """Make a set from the training images of a data module."""
        ...

    def describe(self) -> dict[str, object]:
        """Return plain data that tell this recipe from others."""
        ...


@dataclass(frozen=True)
class DistillRecipe:
    """A distillation with the arguments of its configuration, its seed too: a card names the seed.

    Args:
        name: Name in tables.
        method: Class of the distiller.
        options: Its arguments.
        steps: Number of steps.
        precision: Precision of the Trainer.
        device: Device, ``cpu`` or ``cuda``.
        teachers: Number of teachers of soft labels, trained on the same real images; 0 keeps the labels of the method.
        network: Network of the teachers.
        protocol: Training protocol of the teachers.
        prior: Class frequencies of the soft labels.
        views: Number of views that a soft label is averaged over.
    """

    name: str
    method: type[Distiller]
    options: Mapping[str, object]
    steps: int
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    device: str = "cpu"
    teachers: int = 0
    network: str = "convnet_w32"
    protocol: str = "quick"
    prior: Prior = "natural"
    views: int = 16
    ships_images: bool = True

    def build(self) -> Distiller:
        """Return a new distiller."""
        return self.method(**self.options)  # type: ignore[arg-type]

    def make(self, data: ArrayDataModule) -> MadeSet:
        """Distil a set from the training images of a data module."""
        distiller = self.build()
        with quiet():
            quiet_trainer(self.steps, self.precision, self.device).fit(distiller, datamodule=data)
        made = exported_set(distiller.synthetic)
        if self.teachers:
            made, _ = relabel(
                made,
                data,
                teachers=self.teachers,
                network=self.network,
                protocol=self.protocol,
                prior=self.prior,
                views=self.views,
                device=self.device,
                compile="off",
            )
        return MadeSet(made, start_rows(distiller, data))

    def describe(self) -> dict[str, object]:
        """Return method, arguments and number of steps."""
        plain = {key: value for key, value in self.options.items() if key != "weights"}
        return {
            "kind": "distilled",
            "method": self.method.__name__,
            "options": plain,
            "steps": self.steps,
            "precision": self.precision,
            "teachers": self.teachers,
            **({"labels": [self.network, self.protocol, self.prior, self.views]} if self.teachers else {}),
        }


@dataclass(frozen=True)
class PickRecipe:
    """Real images that a coreset method picks; they are shipped unchanged, or reduced to sub-images.

    Args:
        name: Name in tables.
        method: Coreset method: ``random``, ``herding``, ``kcenter`` or ``kmeans``.
        ipc: Images per class, one number or one for each class.
        formation: Number of sub-images along each side of a stored image.
        seed: Seed of the selection.
    """

    name: str
    method: str
    ipc: int | list[int] = 10
    formation: int = 1
    seed: int = 0
    ships_images: bool = True

    def __post_init__(self) -> None:
        """Raise ValueError for an unknown method."""
        check_method(self.method)

    def make(self, data: ArrayDataModule) -> MadeSet:
        """Pick images of the training images of a data module."""
        spec, (images, labels) = data.spec, data.train_arrays()
        counts = [count * self.formation**2 for count in images_per_class(self.ipc, spec)]
        rows = select(self.method, images, labels, counts, spec, self.seed)
        pixels = torch.from_numpy(np.ascontiguousarray(images[rows]))
        if self.formation > 1:
            pixels = to_stored_dtype(encode(pixels.float(), self.formation), spec)
        picked = torch.from_numpy(labels[rows][:: self.formation**2])
        return MadeSet(LabeledSet(pixels, picked, spec, formation=self.formation), all_rows(rows, data))

    def describe(self) -> dict[str, object]:
        """Return method, images per class, sub-images and seed."""
        return {
            "kind": "picked",
            "method": self.method,
            "ipc": self.ipc,
            "formation": self.formation,
            "seed": self.seed,
        }


@dataclass(frozen=True)
class FullRecipe:
    """All real images: the leakage of networks that are trained on the data themselves.

    Args:
        name: Name in tables.
    """

    name: str = "full"
    ships_images: bool = False

    def make(self, data: ArrayDataModule) -> MadeSet:
        """Return all training images of a data module."""
        return MadeSet(full_data(data.all_train_arrays(), data.spec)(0))

    def describe(self) -> dict[str, object]:
        """Return the kind of the recipe."""
        return {"kind": "all real images"}


def start_rows(distiller: Distiller, data: ArrayDataModule) -> Rows:
    """Return the rows of the training images that the images of a distiller started from; empty for noise.

    Args:
        distiller: Distiller with a set.
        data: Data module that the set was made from.
    """
    if distiller.init == "noise":
        return np.empty(0, np.int64)
    synthetic: SyntheticSet = distiller.synthetic
    method = "random" if distiller.init == "real" else distiller.init
    rows = select(method, *data.train_arrays(), synthetic.counts, data.spec, distiller.seed)
    return all_rows(rows, data)


def all_rows(rows: Rows, data: ArrayDataModule) -> Rows:
    """Convert rows of ``train_arrays`` to rows of ``all_train_arrays``; they differ for multi-label data.

    Args:
        rows: Rows of images with a frequent label combination.
        data: Data module.
    """
    if not data.spec.multi_label:
        return rows
    return is_covered(data.all_train_arrays()[1], data.spec.combinations)[0][rows]


@dataclass(frozen=True)
class Variant:
    """The sets of another recipe without one of the things that their files hold; nothing is distilled again.

    Args:
        name: Name in tables.
        base: Recipe whose shadow sets are changed.
        without: Thing that is left out: ``soft_labels``, ``lr`` or ``statistics``.
    """

    name: str
    base: Recipe
    without: Literal["soft_labels", "lr", "statistics"]
    ships_images: bool = True

    def make(self, data: ArrayDataModule) -> MadeSet:
        """Make a set by the other recipe, and leave the thing out."""
        made = self.base.make(data)
        return replace(made, data=self.change(made.data, made.data))

    def change(self, data: LabeledSet, public: LabeledSet) -> LabeledSet:
        """Return a set without the thing.

        Args:
            data: Set of the other recipe.
            public: Set with the mean and standard deviation that replace those of the set.
        """
        if self.without == "soft_labels":
            return replace(data, soft_labels=None)
        if self.without == "lr":
            return replace(data, lr=None)
        spec = replace(data.spec, mean=public.spec.mean, std=public.spec.std)
        return replace(data, spec=spec)

    def describe(self) -> dict[str, object]:
        """Return the other recipe and the thing that is left out."""
        return {**self.base.describe(), "without": self.without}
