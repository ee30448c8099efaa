"""Random halves of the patients."""

from __future__ import annotations

import numpy as np
import pytest

from lightning_distill.leakage.halves import draw_halves


def test_halves_are_whole_patients_in_complementary_pairs_with_all_classes():
    random = np.random.default_rng(0)
    units = np.repeat(np.arange(50), 3)
    strata = np.repeat(random.integers(0, 3, 50), 3)
    halves = draw_halves(strata, units, 16, 0, ("a", "b", "c"))
    assert halves.shape == (16, 150)
    for k in range(0, 16, 2):
        assert (halves[k] ^ halves[k + 1]).all()
    assert (halves.sum(0) == 8).all(), "every image is in half of the sets"
    for half in halves:
        assert all(half[units == unit].all() or not half[units == unit].any() for unit in range(50))
        assert set(strata[half]) == {0, 1, 2}
        for label in range(3):
            of_class = (strata == label).sum()
            assert abs(half[strata == label].sum() - of_class / 2) <= 3  # one patient
    assert len({half.tobytes() for half in halves}) == 16


def test_more_halves_begin_with_the_same_ones():
    strata, units = np.arange(40) % 2, np.arange(40)
    few, many = (draw_halves(strata, units, count, 3, ("a", "b")) for count in (8, 64))
    np.testing.assert_array_equal(few, many[:8])
    assert not np.array_equal(few, draw_halves(strata, units, 8, 4, ("a", "b")))


@pytest.mark.parametrize("shadows", [0, 2, 7, 9, 2.5, True])
def test_too_few_or_odd_shadows_are_refused(shadows):
    with pytest.raises(ValueError, match="shadows="):
        draw_halves(np.arange(40) % 2, np.arange(40), shadows, 0, ("a", "b"))


def test_a_class_that_a_half_lacks_is_named():
    strata = np.array([0] * 20 + [1] * 5)
    units = np.array([*range(20), *[20] * 5])  # all images of the second class are of one patient
    with pytest.raises(ValueError, match=r"'melanoma' has 1 patient with 5 images"):
        draw_halves(strata, units, 8, 0, ("nevus", "melanoma"))


def test_a_rare_class_of_shared_patients_is_in_both_halves():
    strata = np.array([0, 1] * 2 + [0] * 40)
    units = np.array([0, 0, 1, 1, *range(2, 42)])
    for half in draw_halves(strata, units, 32, 0, ("a", "rare")):
        assert half[strata == 1].sum() == 1


def test_images_without_a_class_are_divided_too():
    strata = np.array([0, 1] * 10 + [-1] * 20)
    halves = draw_halves(strata, np.arange(40), 8, 0, ("a", "b"))
    assert (halves[:, 20:].sum(1) == 10).all()
