"""Division of a time budget: how many candidates, rounds and steps fit, and what is left for the final scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: Least steps of a candidate in a round. Fewer do not move the images enough to be told from their start.
MIN_STEPS = 20
#: Largest share of the budget for students of all real data.
FULL_SHARE = 0.25


class TooFewMinutesError(ValueError):
    """The time budget does not hold the least work.

    Args:
        message: What is too short, and the minutes that are needed.
        minutes: Minutes that are needed.
    """

    def __init__(self, message: str, minutes: float) -> None:
        super().__init__(message)
        self.minutes = minutes


@dataclass(frozen=True)
class Costs:
    """Measured seconds.

    Args:
        step: One distillation step of each recipe.
        search: Training and scoring the students of the search on a set of each recipe.
        final: The same for the final students.
        pick: Final students of one set of picked images.
        full: One student of all real images.
    """

    step: Mapping[str, float]
    search: Mapping[str, float]
    final: Mapping[str, float]
    pick: float
    full: float


@dataclass(frozen=True)
class Plan:
    """A plan for the whole budget.

    Args:
        recipes: Names of the recipes in the first round.
        round_seconds: Seconds of each round, for all its candidates together.
        full_students: Number of students of all real images; 0 leaves them out.
    """

    recipes: tuple[str, ...]
    round_seconds: tuple[float, ...]
    full_students: int

    def steps(self, recipe: str, rung: int, alive: int, costs: Costs) -> int:
        """Return the steps of one of the ``alive`` candidates of a round."""
        share = self.round_seconds[rung] / alive - costs.search[recipe]
        return max(MIN_STEPS, int(share / costs.step[recipe]))


def rounds(candidates: int) -> int:
    """Return the number of rounds of successive halving: n, n / 2, ..., 1 candidates.

    >>> [rounds(n) for n in (1, 2, 3, 4, 5)]
    [1, 2, 3, 3, 4]
    """
    return math.ceil(math.log2(candidates)) + 1


def make_plan(seconds: float, spent: float, recipes: Sequence[str], costs: Costs, picks: int, students: int) -> Plan:
    """Divide the remaining time among the rounds, after what the final scores will take.

    All rounds get equal time, as in successive halving, so that a candidate's time doubles from round to round. The
    recipes at the end of the list are left out where a round would give them fewer than `MIN_STEPS` steps.

    Args:
        seconds: Whole budget.
        spent: Seconds spent so far.
        recipes: Names of the recipes, the most promising first.
        costs: Measured costs.
        picks: Number of sets of picked images in the final scores.
        students: Number of final students.

    Raises:
        TooFewMinutesError: The budget does not hold one candidate; the message names the minutes that it needs.

    Reference:
        Karnin, Koren, Somekh: Almost Optimal Exploration in Multi-Armed Bandits (successive halving), ICML 2013.
    """
    full = next((n for n in (students, 1) if n * costs.full <= FULL_SHARE * seconds), 0)
    fixed = spent + picks * costs.pick + full * costs.full
    for count in range(len(recipes), 0, -1):
        chosen = recipes[:count]
        final = 2 * max(costs.final[name] for name in chosen)  # the set and its start
        search = seconds - fixed - final
        each = search / rounds(count)
        needed = {name: costs.search[name] + MIN_STEPS * costs.step[name] for name in chosen}
        if all(each / count >= needed[name] for name in chosen):
            return Plan(tuple(chosen), (each,) * rounds(count), full)
    first = recipes[0]
    least = fixed + 2 * costs.final[first] + costs.search[first] + MIN_STEPS * costs.step[first]
    minutes = math.ceil(least / 6) / 10
    message = (
        f"minutes={seconds / 60:g} is too short for one candidate ({first}) and its scores on this machine; "
        f"it needs {minutes:g}, or fewer images (ipc), students or a smaller network"
    )
    raise TooFewMinutesError(message, minutes)
