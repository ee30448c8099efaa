"""Distil several shadow sets by distribution matching in one pass: each step embeds every real image once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_distill.augmentation.siamese import SiameseAugmentation
from lightning_distill.callbacks.evaluated_set import exported_set
from lightning_distill.data import ArrayDataModule, ClassBalancedLoader
from lightning_distill.distillers import Distiller, DMDistiller
from lightning_distill.functional.build import build_functional_network
from lightning_distill.functional.network import FunctionalNetwork, Parameters
from lightning_distill.leakage.recipes import DistillRecipe, MadeSet, Recipe, start_rows
from lightning_distill.leakage.shadows import make_one_by_one
from lightning_distill.leakage.subset import SubsetDataModule
from lightning_distill.utils.rng import derive_seed, isolated_rng

#: Most synthetic images of a class that go through the network at once, over all sets.
MAX_IMAGES = 1024
#: Number of real images that are embedded at once.
CHUNK = 512


def can_share(recipe: Recipe, multi_label: bool = False) -> bool:
    """Return whether the shadow sets of a recipe can be distilled in one pass.

    Args:
        recipe: Recipe of the sets.
        multi_label: Whether the data are multi-label.
    """
    if not isinstance(recipe, DistillRecipe) or recipe.method is not DMDistiller or multi_label or recipe.teachers:
        return False
    distiller = recipe.build()
    assert isinstance(distiller, DMDistiller)
    plain = distiller.gradient_clip is None and distiller.lr_schedule == "constant"
    plain = plain and distiller.latent_space is None
    plain = plain and distiller.bank is None and distiller.pool_images == "batch"
    return plain and distiller.objective == "mean" and "batch" not in distiller.network_name


def sets_at_once(recipe: DistillRecipe) -> int:
    """Return the number of shadow sets that are distilled in one pass.

    Args:
        recipe: Recipe of the sets, fitted to the data.
    """
    distiller = recipe.build()
    ipc = distiller.ipc if isinstance(distiller.ipc, int) else max(distiller.ipc)
    return max(1, MAX_IMAGES // (ipc * (distiller.formation or 1) ** 2))


def make_together(recipe: Recipe, halves: Sequence[ArrayDataModule]) -> list[MadeSet]:
    """Distil the sets of several halves in one pass, where `can_share` allows it.

    All sets take the same networks and transformations, as they do one by one, since these depend on the seed of the
    recipe alone. A real image is therefore embedded once in a step for all sets; the targets are sums of embeddings,
    weighted by how often each image is in the batch of a half. With a pool they are stored at the first use of a
    network. The sets equal those made one by one up to rounding.

    Args:
        recipe: Recipe of the sets.
        halves: Data of each set, with the mean and standard deviation of all data.
    """
    shared = [half for half in halves if isinstance(half, SubsetDataModule)]
    parent = shared[0].parent if shared else None
    public = all(half.spec == shared[0].spec for half in shared)
    if parent is None or len(shared) < len(halves) or not public or not can_share(recipe, parent.spec.multi_label):
        return make_one_by_one(recipe, halves)
    assert isinstance(recipe, DistillRecipe)
    distillers = [recipe.build() for _ in shared]
    for distiller, half in zip(distillers, shared, strict=True):
        distiller.synthetic = distiller.init_synthetic(half).to(recipe.device)
    _distil(recipe, distillers, shared, parent)
    return [
        MadeSet(exported_set(distiller.synthetic), start_rows(distiller, half))
        for distiller, half in zip(distillers, shared, strict=True)
    ]


def _distil(
    recipe: DistillRecipe,
    distillers: Sequence[Distiller],
    halves: Sequence[SubsetDataModule],
    parent: ArrayDataModule,
) -> None:
    """Take all steps of all sets."""
    first, spec, device = distillers[0], halves[0].spec, torch.device(recipe.device)
    assert isinstance(first, DMDistiller)
    network = build_functional_network(first.network_name, spec, 0, device, "off", sizes=[], chunk=first.chunk)
    augment = SiameseAugmentation(first.augmentation or spec.augmentation, spec.shape[1:])
    images = [distiller.synthetic.images for distiller in distillers]
    sgd = torch.optim.SGD(images, first.lr, momentum=first.momentum)
    loaders = [half.balanced_loader() for half in halves]
    draws, classes = first.pool_draws(spec, network), range(len(spec.balance_groups))
    stored: dict[int, list[Tensor]] = {}
    with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16-mixed"):
        for step in range(recipe.steps):
            sgd.zero_grad()
            with isolated_rng(derive_seed(first.seed, step)):
                if draws is None:
                    draw, parameters = step, network.init_params(device)
                    seeds = [derive_seed(first.seed, step, label) for label in classes]
                    stored.clear()
                else:
                    draw = step % draws.count
                    parameters, seeds = draws.parameters(draw, network, device), draws.class_seeds(draw, classes)
                if draw not in stored:
                    batches = [_weights(loader, half, step) for loader, half in zip(loaders, halves, strict=True)]
                    stored[draw] = [
                        _targets(network, parameters, augment, seed, [own[label] for own in batches], parent)
                        for label, seed in enumerate(seeds)
                    ]
                for label, (seed, targets) in enumerate(zip(seeds, stored[draw], strict=True)):
                    parts = [distiller.synthetic.of_class(label) for distiller in distillers]
                    counts = [len(part) for part in parts]
                    x = augment.of_classes(torch.cat(parts), [sum(counts)], [seed])
                    embedded = network.embed(parameters, x).split(counts)
                    losses = [
                        first.embedding_distance(target[None], part)
                        for target, part in zip(targets, embedded, strict=True)
                    ]
                    torch.stack(losses).sum().backward()
            sgd.step()


def _weights(
    loader: ClassBalancedLoader, half: SubsetDataModule, step: int
) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Return the rows of each class in the batch of a half, among all images, and their shares of the batch."""
    result = []
    for rows in loader.rows(step):
        own, counts = np.unique(half.rows[rows], return_counts=True)
        result.append((own, (counts / len(rows)).astype(np.float32)))
    return result


@torch.no_grad()
def _targets(
    network: FunctionalNetwork,
    parameters: Parameters,
    augment: SiameseAugmentation,
    seed: int,
    batches: Sequence[tuple[NDArray[np.int64], NDArray[np.float32]]],
    parent: ArrayDataModule,
) -> Tensor:
    """Return the mean embedding of the real images of a class in the batch of each half, ``(S, F)``."""
    images, _ = parent.all_train_arrays()
    rows = np.unique(np.concatenate([own for own, _ in batches]))
    device = next(iter(parameters.values())).device
    total: Tensor | None = None
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK]
        weights = np.zeros((len(batches), len(part)), np.float32)
        for target, (own, shares) in zip(weights, batches, strict=True):
            inside = np.isin(own, part, assume_unique=True)
            target[np.searchsorted(part, own[inside])] = shares[inside]
        x = parent.spec.normalize(torch.from_numpy(np.ascontiguousarray(images[part])).to(device))
        embedded = network.embed(parameters, augment.of_classes(x, [len(x)], [seed])).float()
        sums = torch.from_numpy(weights).to(device) @ embedded
        total = sums if total is None else total + sums
    assert total is not None
    return total
