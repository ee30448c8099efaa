"""Division of a time budget among candidates, rounds and final scores."""

from __future__ import annotations

import pytest

from lightning_distill.portfolio.budget import MIN_STEPS, Costs, make_plan


def costs(names="abc", step=0.1, search=2.0, final=5.0, pick=1.0, full=10.0):
    return Costs(dict.fromkeys(names, step), dict.fromkeys(names, search), dict.fromkeys(names, final), pick, full)


def total(plan, measured, picks, students):
    """Seconds of everything the plan does, with the steps that it gives."""
    alive, seconds = list(plan.recipes), picks * measured.pick + plan.full_students * measured.full
    for rung in range(len(plan.round_seconds)):
        for name in alive:
            seconds += plan.steps(name, rung, len(alive), measured) * measured.step[name] + measured.search[name]
        alive = alive[: max(1, (len(alive) + 1) // 2)]
    return seconds + 2 * max(measured.final[name] for name in plan.recipes)


@pytest.mark.parametrize("names", ["a", "ab", "abc", "abcde"])
@pytest.mark.parametrize("seconds", [200.0, 600.0])
def test_the_plan_fills_the_budget_and_does_not_exceed_it(names, seconds):
    measured = costs(names)
    plan = make_plan(seconds, 7.0, list(names), measured, picks=2, students=3)
    spent = 7.0 + total(plan, measured, 2, 3)
    assert spent <= seconds
    assert spent >= 0.97 * seconds
    assert plan.recipes == tuple(names)
    alive = len(names)
    for rung in range(len(plan.round_seconds)):
        assert plan.steps(names[0], rung, alive, measured) >= MIN_STEPS
        alive = max(1, (alive + 1) // 2)
    assert alive == 1


def test_a_short_budget_keeps_the_first_recipes():
    assert make_plan(42.0, 0.0, list("abcd"), costs("abcd"), 2, 3).recipes == ("a", "b")


@pytest.mark.parametrize(("full", "students"), [(10.0, 3), (100.0, 1), (151.0, 0)])
def test_all_real_data_take_no_more_than_a_quarter(full, students):
    assert make_plan(600.0, 0.0, ["a"], costs("a", full=full), 2, 3).full_students == students


def test_too_short_a_budget_names_the_minutes_that_are_enough():
    measured = costs(full=1000.0)
    with pytest.raises(ValueError, match=r"minutes=0.25 is too short for one candidate \(a\).*it needs 0.3,") as error:
        make_plan(15.0, 1.0, list("abc"), measured, 2, 3)
    minutes = float(str(error.value).split("needs ")[1].split(",")[0])
    assert make_plan(60 * minutes, 1.0, list("abc"), measured, 2, 3).recipes == ("a",)
