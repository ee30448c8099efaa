"""Arrays brought to one form, or refused by name."""

from __future__ import annotations

import re

import numpy as np
import pytest

from lightning_distill.data.checks.arrays import as_images, as_labels, pixel_statistics
from lightning_distill.utils.lazy_arrays import FileArray


def zeros(*shape, dtype="u1"):
    return np.zeros(shape, dtype)


@pytest.mark.parametrize(
    ("shape", "channels", "result"),
    [
        ((5, 28, 20), "auto", (5, 1, 28, 20)),
        ((5, 3, 3), "auto", (5, 1, 3, 3)),
        ((5, 28, 20, 1), "auto", (5, 1, 28, 20)),
        ((5, 28, 20, 3), "auto", (5, 3, 28, 20)),
        ((5, 28, 20, 4), "auto", (5, 4, 28, 20)),
        ((5, 1, 28, 20), "auto", (5, 1, 28, 20)),
        ((5, 3, 28, 20), "auto", (5, 3, 28, 20)),
        ((5, 4, 28, 20), "auto", (5, 4, 28, 20)),
        ((5, 3, 8, 3), "first", (5, 3, 8, 3)),
        ((5, 3, 8, 3), "last", (5, 3, 3, 8)),
        ((5, 7, 8, 9), "first", (5, 7, 8, 9)),
        ((5, 7, 8, 9), "last", (5, 9, 7, 8)),
        ((5, 28, 20), "last", (5, 1, 28, 20)),
    ],
)
def test_images_come_out_with_channels_first(shape, channels, result):
    assert as_images(zeros(*shape), "train", channels).shape == result


def test_pixels_stay_at_their_places():
    images = np.arange(2 * 6 * 5 * 3, dtype=np.uint8).reshape(2, 6, 5, 3)
    result = as_images(images, "train")
    for n, y, x, c in np.ndindex(images.shape):
        assert result[n, c, y, x] == images[n, y, x, c]


@pytest.mark.parametrize("dtype", ["u1", "f2", "f4", "f8"])
@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 8, 8, 3), (3, 3, 8, 8)])
def test_images_keep_their_dtype_and_are_not_copied(shape, dtype):
    images = zeros(*shape, dtype=dtype)
    result = as_images(images, "train")
    assert result.dtype == images.dtype
    assert np.shares_memory(result, images)


def test_memory_mapped_images_stay_on_disk(tmp_path):
    np.save(tmp_path / "x.npy", zeros(4, 8, 8, 3))
    result = as_images(np.load(tmp_path / "x.npy", mmap_mode="r"), "train")
    assert isinstance(result, FileArray)
    assert result.shape == (4, 3, 8, 8)


def test_lists_of_equal_images_are_taken():
    assert as_images([zeros(8, 8), zeros(8, 8)], "train").shape == (2, 1, 8, 8)


def mixed():
    images = np.empty(2, object)
    images[:] = [zeros(8, 8), zeros(9, 8)]
    return images


@pytest.mark.parametrize("images", [mixed(), [zeros(8, 8), zeros(9, 8)]], ids=["object array", "list"])
def test_images_of_mixed_sizes_are_refused(images):
    with pytest.raises(ValueError, match=r"val images have mixed sizes .*resize them"):
        as_images(images, "val")


@pytest.mark.parametrize("dtype", ["i8", "u2", "i1", "?", "c8", "U3"])
def test_another_dtype_is_refused_by_name(dtype):
    images = zeros(3, 8, 8).astype(dtype)
    with pytest.raises(TypeError, match=rf"train images are {re.escape(str(images.dtype))}; give uint8"):
        as_images(images, "train")


@pytest.mark.parametrize("shape", [(), (5,), (5, 4), (2, 3, 4, 5, 6)], ids=str)
def test_a_wrong_number_of_dimensions_is_refused_with_the_shape(shape):
    with pytest.raises(ValueError, match=re.escape(f"test images have the shape {shape}")):
        as_images(zeros(*shape), "test")


@pytest.mark.parametrize("shape", [(0, 28, 28), (0,), (0, 28, 28, 3)], ids=str)
def test_no_images_are_refused(shape):
    with pytest.raises(ValueError, match=r"train has no images; its array has the shape \(0,"):
        as_images(zeros(*shape), "train")


@pytest.mark.parametrize("shape", [(5, 3, 8, 3), (5, 1, 28, 1), (5, 7, 8, 9), (5, 28, 28, 2)], ids=str)
def test_an_ambiguous_place_of_the_channels_is_refused(shape):
    with pytest.raises(ValueError, match=re.escape(f"cannot tell the channels of images of the shape {shape}")):
        as_images(zeros(*shape), "train")


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_not_finite_are_refused_with_the_image(bad, dtype):
    images = zeros(6, 8, 8, 3, dtype=dtype)
    images[4, 7, 2, 1] = bad
    with pytest.raises(ValueError, match="val image 4 has NaN or infinite pixels"):
        as_images(images, "val")


def test_a_bad_pixel_is_found_behind_the_first_chunk():
    images = zeros(5000, 2, 2, dtype="f4")
    images[4500, 1, 1] = np.nan
    with pytest.raises(ValueError, match="train image 4500 has NaN"):
        as_images(images, "train")


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i4", "i8", "u8"])
@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_labels_come_out_as_int64_of_one_dimension(shape, dtype):
    labels = as_labels(np.array([0, 2, 1, 2], dtype).reshape(shape), 4, "train")
    assert labels.dtype == np.int64
    assert labels.tolist() == [0, 2, 1, 2]


def test_multi_label_targets_keep_their_shape():
    targets = np.array([[0, 1, 1], [0, 0, 0]], np.uint8)
    labels = as_labels(targets, 2, "train")
    assert labels.dtype == np.int64
    assert labels.tolist() == targets.tolist()


def test_bool_labels_are_zero_and_one():
    assert as_labels(np.array([True, False]), 2, "train").tolist() == [1, 0]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], "train has 3 images but 2 labels"),
        ([0, 1, 1, 0], "train has 3 images but 4 labels"),
        ([0, -1, 1], "train has the label -1; labels count from 0"),
        ([[0], [-2], [1]], "train has the label -2"),
        ([[0, 1], [2, 0], [1, 1]], "train labels of the shape (3, 2) hold 2; multi-label targets are 0/1"),
        ([[[0]], [[1]], [[1]]], "train labels have the shape (3, 1, 1)"),
        (np.int64(1), "train labels have the shape ()"),
        (np.array([], np.int64), "train has 3 images but 0 labels"),
    ],
    ids=str,
)
def test_bad_labels_are_refused_with_what_is_wrong(labels, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        as_labels(np.asarray(labels), 3, "train")


@pytest.mark.parametrize("labels", [[0.0, 1.0, 2.0], [[0.0], [1.0], [1.0]], ["cat", "dog", "cat"], [None, 0, 1], []])
def test_labels_that_are_not_integers_are_refused(labels):
    with pytest.raises(TypeError, match=r"test labels are .*; give integers 0..K-1"):
        as_labels(np.asarray(labels), 3, "test")


@pytest.mark.parametrize("dtype", ["u1", "f2", "f4", "f8"])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_statistics_equal_those_of_the_whole_array_over_several_chunks(channels, dtype):
    random = np.random.default_rng(0)
    images = (random.random((4200, channels, 3, 4)) * 200 + 10 * np.arange(channels)[:, None, None]).astype(dtype)
    mean, std, low, high = pixel_statistics(images)
    exact = images.astype(np.float64).transpose(1, 0, 2, 3).reshape(channels, -1)
    np.testing.assert_allclose(mean, exact.mean(1), rtol=1e-9)
    np.testing.assert_allclose(std, exact.std(1), rtol=1e-9)
    assert (low, high) == (exact.min(), exact.max())


def test_statistics_are_accurate_far_from_zero():
    images = (np.random.default_rng(0).random((50, 1, 8, 8)) + 30_000).astype(np.float64)
    _, std, _, _ = pixel_statistics(images)
    assert std[0] == pytest.approx(images.std(), rel=1e-4)


def test_a_constant_channel_has_the_standard_deviation_one():
    images = np.stack([np.full((4, 5, 5), 7.0), np.random.default_rng(0).random((4, 5, 5))], 1)
    mean, std, _, _ = pixel_statistics(images)
    assert mean[0] == 7.0
    assert std[0] == 1.0
    assert std[1] == pytest.approx(images[:, 1].std())
