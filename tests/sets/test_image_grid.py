"""A set as one picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lightning_distill import DataSpec
from lightning_distill.sets.image_grid import GAP, image_grid, label_rows

NAMES = ("ant", "bee", "cat")


def spec(channels=1, names=NAMES, low=0.0, high=255.0, size=(8, 6)):
    return DataSpec("toy", (channels, *size), names, (0.0,) * channels, (1.0,) * channels, low, high)


def picture(counts, channels=1, columns=10, cell=12, names=NAMES, value=0, size=(8, 6)):
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    pixels = torch.full((len(labels), channels, *size), value, dtype=torch.uint8)
    return image_grid(pixels, labels, spec(channels, names, size=size), columns, cell)


def cells(grid, rows, columns, height, width):
    """The images of the picture, cut out by their places: ``(rows, columns, height, width, 3)``."""
    left = grid.shape[1] - columns * (width + GAP)
    return np.stack([
        [grid[r * (height + GAP) + GAP :, left + c * (width + GAP) :][:height, :width] for c in range(columns)]
        for r in range(rows)
    ])  # fmt: skip


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(("counts", "columns", "shown"), [((4, 4, 4), 10, 4), ((4, 4, 4), 3, 3), ((1, 5, 2), 10, 5)])
def test_the_picture_has_a_row_for_each_class_and_at_most_columns_images(counts, columns, shown, channels):
    grid = picture(counts, channels, columns)
    assert grid.dtype == np.uint8
    assert grid.ndim == 3
    assert grid.shape[2] == 3
    assert grid.shape[0] == 3 * (16 + GAP) + GAP
    black = cells(grid, 3, shown, 16, 12)
    for row, count in enumerate(counts):
        assert (black[row, : min(count, columns)] == 0).all()
        assert (black[row, min(count, columns) :] == 255).all(), "absent images are blank"


@pytest.mark.parametrize(("cell", "times"), [(6, 1), (12, 2), (13, 3), (42, 7), (1, 1)])
def test_images_are_enlarged_by_whole_numbers(cell, times):
    pixels = torch.randint(0, 256, (3, 1, 8, 6), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    grid = image_grid(pixels, torch.arange(3), spec(), cell=cell)
    assert grid.shape[0] == 3 * (8 * times + GAP) + GAP
    shown = cells(grid, 3, 1, 8 * times, 6 * times)[:, 0]
    expected = pixels[:, 0].numpy().repeat(times, 1).repeat(times, 2)
    for channel in range(3):
        np.testing.assert_array_equal(shown[..., channel], expected)


def test_three_channels_are_drawn_in_colour_and_others_by_their_first():
    pixels = torch.zeros(3, 3, 8, 6, dtype=torch.uint8)
    pixels[:, 0], pixels[:, 1] = 200, 100
    shown = cells(image_grid(pixels, torch.arange(3), spec(3), cell=6), 3, 1, 8, 6)
    assert (shown == [200, 100, 0]).all()
    more = torch.cat([pixels, pixels], 1)
    assert (cells(image_grid(more, torch.arange(3), spec(6), cell=6), 3, 1, 8, 6) == 200).all()


@pytest.mark.parametrize(("value", "shown"), [(-1.0, 0), (3.0, 255), (1.0, 128), (-9.0, 0), (9.0, 255)])
def test_floats_are_spread_over_the_range_of_the_data_and_clipped(value, shown):
    grid = image_grid(torch.full((3, 1, 8, 6), value).half(), torch.arange(3), spec(low=-1.0, high=3.0), cell=6)
    assert (cells(grid, 3, 1, 8, 6) == shown).all()


def test_a_range_of_nothing_draws_something():
    grid = image_grid(torch.zeros(3, 1, 8, 6), torch.arange(3), spec(low=0.0, high=0.0), cell=6)
    assert len(np.unique(cells(grid, 3, 1, 8, 6))) == 1


def test_images_are_in_the_row_of_their_class_whatever_their_order():
    labels = torch.tensor([2, 0, 1, 0])
    pixels = (labels * 50 + 20).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 6)
    shown = cells(image_grid(pixels, labels, spec(), cell=6), 3, 2, 8, 6)
    assert shown[:, 0, 0, 0, 0].tolist() == [20, 70, 120]
    assert shown[:, 1, 0, 0, 0].tolist() == [70 - 50, 255, 255]


def test_a_class_without_images_has_a_blank_row():
    grid = picture((2, 0, 2))
    shown = cells(grid, 3, 2, 16, 12)
    assert (shown[1] == 255).all()
    assert (shown[[0, 2]] == 0).all()


def test_every_row_has_its_name_in_front():
    grid = picture((2, 2, 2), value=255, cell=30)
    rows = np.split(grid[GAP:], 3)
    ink = [(row < 128).any(2).sum() for row in rows]
    assert min(ink) > 10
    assert not np.array_equal(rows[0], rows[1])


def test_long_names_are_wrapped_and_leave_room_for_the_images():
    name = "actinic keratoses and intraepithelial carcinoma of whatever further description and more of it"
    short, long = (picture((2, 2), names=names, cell=42) for names in (("a", "b"), (name, "b")))
    assert short.shape[0] == long.shape[0]
    assert short.shape[1] < long.shape[1] < short.shape[1] + 260
    assert (cells(long, 2, 2, 56, 42) == 0).all()


def test_the_largest_number_of_classes_of_the_field_is_drawn():
    assert picture((1,) * 100, names=tuple(map(str, range(100))), cell=6).shape[0] == 100 * (8 + GAP) + GAP


def test_images_are_large_enough_to_see_unless_told_otherwise():
    pixels = torch.zeros(3, 1, 8, 6, dtype=torch.uint8)
    assert image_grid(pixels, torch.arange(3), spec()).shape[0] == 3 * (8 * 16 + GAP) + GAP


def test_a_text_above_each_column():
    grid = np.zeros((100, 200, 3), np.uint8)
    labelled = label_rows(grid, ["a"], ["step 0", "step 9"])
    assert labelled.shape[0] > 110
    above = labelled[: labelled.shape[0] - 100, labelled.shape[1] - 200 :]
    assert (above[:, :100] < 128).any()
    assert (above[:, 100:] < 128).any()
