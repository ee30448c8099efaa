"""Recipes that stand beside the audited one: without them a rate says little."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from lightning_distill.leakage.guaranteed import GuaranteedRecipe
from lightning_distill.leakage.recipes import DistillRecipe, FullRecipe, PickRecipe, Recipe, Variant
from lightning_distill.sets.labeled_set import LabeledSet

#: ``random`` and ``herding`` are as many real images as the set stores, without sub-images, ``full`` all of them,
#: ``noise`` and ``real`` the same method from another start, ``soft`` its sets with soft labels of a teacher, ``dp``
#: distribution matching with differential privacy (needs the extra ``dp``).
Baseline = Literal["random", "herding", "full", "noise", "real", "soft", "dp"]
#: Baselines of every audit.
DEFAULT: tuple[Baseline, ...] = ("random", "herding", "full", "noise")


def check_baselines(names: list[str] | None) -> list[str]:
    """Return the names of the baselines; the default for ``None``.

    Args:
        names: Names of baselines.

    Raises:
        ValueError: A name is unknown.
    """
    known = get_args(Baseline)
    if unknown := [name for name in names or () if name not in known]:
        raise ValueError(f"unknown baseline {unknown[0]!r}; use any of {', '.join(known)}")
    return list(DEFAULT if names is None else dict.fromkeys(names))


def baseline_recipes(
    recipe: Recipe, names: list[str], *, network: str, protocol: str, epsilon: float = 8.0
) -> list[Recipe]:
    """Return the baselines of a recipe that differ from it.

    Args:
        recipe: Audited recipe, fitted to the data.
        names: Names of baselines.
        network: Network of the teachers of soft labels.
        protocol: Training protocol of the teachers.
        epsilon: Epsilon of the baseline ``dp``.

    Raises:
        ValueError: The recipe has no variant with differential privacy, or its accountant is not installed.
    """
    distilled = recipe if isinstance(recipe, DistillRecipe) else None
    init = distilled.build().init if distilled else ""
    found: list[Recipe] = []
    for name in names:
        if name in ("random", "herding"):
            pick = _pick(name, recipe)
            if pick.describe() != recipe.describe():
                found.append(pick)
        elif name == "full" and not isinstance(recipe, FullRecipe):
            found.append(FullRecipe())
        elif distilled and name in ("noise", "real") and init != name:
            found.append(replace(distilled, name=name, options={**distilled.options, "init": name}))
        elif distilled and name == "dp":
            found.append(GuaranteedRecipe(f"dp epsilon {epsilon:g}", distilled, epsilon))
        elif distilled and name == "soft" and not distilled.teachers:
            found.append(replace(distilled, name="soft labels", teachers=1, network=network, protocol=protocol))
    return found


def channel_recipes(recipe: Recipe, made: LabeledSet) -> list[Variant]:
    """Return the variants of a recipe without a thing that its sets hold beside images and labels.

    Args:
        recipe: Audited recipe.
        made: One of its sets.
    """
    variants = []
    if made.soft_labels is not None:
        variants.append(Variant("hard labels", recipe, "soft_labels"))
    if made.lr is not None:
        variants.append(Variant("protocol's rate", recipe, "lr"))
    return variants


def _pick(name: str, recipe: Recipe) -> PickRecipe:
    """Return picks with as many stored images as the recipe has."""
    ipc: int | list[int] = 10
    if isinstance(recipe, DistillRecipe):
        ipc = recipe.build().ipc
    elif isinstance(recipe, PickRecipe):
        ipc = recipe.ipc
    if not isinstance(ipc, int):
        ipc = [int(count) for count in np.asarray(ipc)]
    return PickRecipe(name, name, ipc)
