"""Tests of ``SliceRule``, against slices selected by explicit indexing."""

from __future__ import annotations

import numpy as np
import pytest

from lightning_distill.data.medmnist.slices import SliceRule, argmax_near_middle


def volumes(count=3, shape=(5, 6, 7), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_centre_slice_is_at_half_the_edge(axis):
    array = volumes()
    expected = [(v[2], v[:, 3], v[:, :, 3])[axis] for v in array]
    images = SliceRule(axis=axis).select(array)
    np.testing.assert_array_equal(images, expected)
    assert images.dtype == np.uint8
    assert not np.shares_memory(images, array)


@pytest.mark.parametrize(
    ("edge", "count", "step", "places"),
    [
        (28, 1, 1, [14]), (28, 3, 4, [10, 14, 18]), (28, 2, 4, [12, 16]), (28, 2, 3, [12, 15]),
        (7, 3, 2, [1, 3, 5]), (5, 5, 1, [0, 1, 2, 3, 4]), (64, 4, 10, [17, 27, 37, 47]),
    ],
)  # fmt: skip
def test_several_slices_stand_evenly_around_the_centre(edge, count, step, places):
    volume = volumes(1, (edge, 2, 2))
    rule = SliceRule(count=count, step=step)
    assert rule.indices(volume[0]) == places
    assert abs(np.mean(places) - (edge - 1) / 2) <= 1
    np.testing.assert_array_equal(rule.select(volume), volume[0][places])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_brightest_slice_has_the_greatest_sum(axis):
    array = volumes(4)
    for image, volume in zip(SliceRule("brightest", axis=axis).select(array), array, strict=True):
        sums = [int(np.take(volume, n, axis).astype(int).sum()) for n in range(volume.shape[axis])]
        np.testing.assert_array_equal(image, np.take(volume, int(np.argmax(sums)), axis))


def test_foreground_counts_voxels_above_a_value_and_not_their_brightness():
    volume = np.zeros((5, 4, 4), np.uint8)
    volume[1, 0, 0] = 255
    volume[3, :3, :3] = 5
    assert SliceRule("brightest").indices(volume) == [1]
    assert SliceRule("foreground").indices(volume) == [3]
    assert SliceRule("foreground", above=5).indices(volume) == [1]
    assert SliceRule("foreground", above=255).indices(volume) == [2]  # nothing is: the middle


def test_of_equal_ones_the_nearest_to_the_middle_is_taken():
    assert [argmax_near_middle(values) for values in ([4, 4, 4, 4], [7, 0, 0, 7, 0], [1, 5, 0, 5, 0], [9])] == [
        2,
        3,
        1,
        0,
    ]


def test_a_sum_of_many_bright_voxels_does_not_run_over():
    volume = np.full((3, 300, 300), 254, np.uint8)
    volume[2] = 255
    assert SliceRule("brightest").indices(volume) == [2]


@pytest.mark.parametrize("rule", [SliceRule(count=3), SliceRule("brightest", axis=2)])
def test_mapped_volumes_are_cut_as_those_in_memory(tmp_path, rule):
    array = volumes()
    np.save(tmp_path / "v.npy", array)
    images = rule.select(np.load(tmp_path / "v.npy", mmap_mode="r"))
    np.testing.assert_array_equal(images, rule.select(array))
    assert not isinstance(images, np.memmap)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (SliceRule(), "centre slice along axis 0 of 3D volumes"),
        (SliceRule(count=3, step=4, axis=1), "3 slices along axis 1 of 3D volumes, 4 voxels apart around the centre"),
        (SliceRule(count=2), "2 slices along axis 0 of 3D volumes, 1 voxel apart around the centre"),
        (SliceRule("brightest", 2), "slice with the greatest sum of grey values along axis 2 of 3D volumes"),
        (SliceRule("foreground", above=9), "slice with the most voxels above 9 along axis 0 of 3D volumes"),
    ],
)
def test_a_rule_says_what_it_is(rule, text):
    assert str(rule) == text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slices": "lesion"}, "unknown slices='lesion'; use one of centre, brightest, foreground"),
        ({"axis": 3}, "axis=3; the array of a volume has the axes 0, 1 and 2"),
        ({"count": 0}, "count=0; it must be at least 1"),
        ({"step": 0}, "step=0; it must be at least 1"),
        (
            {"slices": "brightest", "count": 2},
            "count=2 with slices='brightest', which selects one; use",
        ),
    ],
)
def test_rules_that_are_none_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SliceRule(**options)


def test_volumes_that_do_not_hold_the_slices_are_refused():
    with pytest.raises(ValueError, match=r"count=3 slices 2 apart span 5 voxels, a volume has 4; lower count or step"):
        SliceRule(count=3, step=2).select(volumes(1, (4, 9, 9)))
    with pytest.raises(ValueError, match=r"volumes have shape \(3, 6, 7\); expected \(N, A, B, C\)"):
        SliceRule().select(volumes()[0][:3])
