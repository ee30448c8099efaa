"""Shadow sets and baselines that fit into a number of minutes, from the seconds of the first shadow sets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lightning_distill.leakage.guaranteed import GuaranteedRecipe
from lightning_distill.leakage.halves import MIN_SHADOWS
from lightning_distill.leakage.recipes import DistillRecipe, Recipe


@dataclass(frozen=True)
class AuditPlan:
    """Extent of an audit.

    Args:
        shadows: Number of shadow sets of each recipe.
        baselines: Recipes beside the audited one.
        left_out: Names of the baselines that do not fit.
        seconds: Seconds that the shadow sets are expected to take, those that exist included.
    """

    shadows: int
    baselines: Sequence[Recipe]
    left_out: Sequence[str]
    seconds: float


def plan_for_minutes(
    minutes: float, spent: float, first: tuple[float, float], baselines: Sequence[Recipe], most: int
) -> AuditPlan:
    """Return the largest audit that fits: first all baselines, then more shadow sets.

    Where 8 shadow sets do not fit with all baselines, those that are distilled are left out, the last one first.

    Args:
        minutes: Minutes for the whole audit.
        spent: Seconds spent so far.
        first: Seconds to make and to measure one shadow set of the audited recipe.
        baselines: Recipes beside the audited one.
        most: Largest number of shadow sets.

    Raises:
        ValueError: Even 8 shadow sets of the recipe with the cheap baselines do not fit; the message names the minutes
            that they take.

    Example:
        >>> plan_for_minutes(10, 0.0, (20.0, 5.0), [], 64).shadows
        24
    """
    kept = list(baselines)
    left_out: list[str] = []
    while True:
        each = _seconds_of_each(first, kept)
        fitting = int((60 * minutes - spent) / each / 2) * 2
        if fitting >= MIN_SHADOWS:
            shadows = min(most, fitting)
            return AuditPlan(shadows, kept, left_out, spent + shadows * each)
        dear = [recipe for recipe in kept if _is_distilled(recipe)]
        if not dear:
            needed = math.ceil((spent + MIN_SHADOWS * each) / 60)
            raise ValueError(
                f"minutes={minutes:g} is too short for {MIN_SHADOWS} shadow sets of {each:.0f} s each on this machine; "
                f"it needs {needed}, or a recipe with fewer steps. What was made is kept and used again"
            )
        left_out.append(dear[-1].name)
        kept.remove(dear[-1])


def _seconds_of_each(first: tuple[float, float], baselines: Sequence[Recipe]) -> float:
    """Return the seconds of one shadow set of the audited recipe and of each baseline; picks take no time to make."""
    make, measure = first
    return make + measure + sum(measure + make * _is_distilled(recipe) for recipe in baselines)


def _is_distilled(recipe: Recipe) -> bool:
    return isinstance(recipe, DistillRecipe | GuaranteedRecipe)
