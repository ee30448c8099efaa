from __future__ import annotations

from itertools import pairwise

import pytest

from lightning_distill.distillers.dc import default_loops

#: ipc: (outer, inner), from the appendix of the paper and its code.
PAPER = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}


@pytest.mark.parametrize(("ipc", "expected"), PAPER.items())
def test_the_papers_numbers(ipc, expected):
    assert default_loops(ipc) == expected


@pytest.mark.parametrize(
    ("ipc", "expected"), [(2, (2, 6)), (5, (5, 23)), (15, (15, 38)), (25, (25, 22)), (35, (35, 18)), (45, (45, 12))]
)
def test_between_two_of_them_a_straight_line(ipc, expected):
    assert default_loops(ipc) == expected


def test_between_two_of_them_numbers_only_rise_or_only_fall():
    for low, high in pairwise(PAPER):
        for place in (0, 1):
            numbers = [default_loops(ipc)[place] for ipc in range(low, high + 1)]
            assert numbers in (sorted(numbers), sorted(numbers, reverse=True))
            assert {numbers[0], numbers[-1]} == {PAPER[low][place], PAPER[high][place]}
    assert [default_loops(ipc)[0] for ipc in range(1, 51)] == list(range(1, 51))


@pytest.mark.parametrize("ipc", [51, 100, 5000])
def test_above_the_table_its_last_numbers_hold(ipc):
    assert default_loops(ipc) == (50, 10)


@pytest.mark.parametrize("ipc", [[1, 20, 3], (20, 20), [20]])
def test_of_a_list_the_largest_counts(ipc):
    assert default_loops(ipc) == default_loops(20)


def test_numbers_given_by_hand_win_each_for_itself():
    assert default_loops(10, outer_loop=3) == (3, 50)
    assert default_loops(10, inner_loop=7) == (10, 7)
    assert default_loops([1, 50], outer_loop=1, inner_loop=2) == (1, 2)


@pytest.mark.parametrize("value", [0, -1])
@pytest.mark.parametrize("name", ["outer_loop", "inner_loop"])
def test_less_than_one_loop_is_refused(name, value):
    with pytest.raises(ValueError, match=rf"{name}={value}; it must be at least 1, or null for the papers' number"):
        default_loops(10, **{name: value})


def test_every_ipc_gives_at_least_one_of_each():
    for ipc in range(1, 201):
        outer, inner = default_loops(ipc)
        assert isinstance(outer, int)
        assert isinstance(inner, int)
        assert outer >= 1
        assert inner >= 1
