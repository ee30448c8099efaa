"""The score of a patch equals a loop over images and patches, and is large for triggers only."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lightning_distill.sets.inspection.patch_scores import FLOOR, best_patch


def by_hand(pixels, own, sizes):
    """The docstring's formula, patch by patch."""
    pixels, own = pixels.double().numpy(), own.numpy()
    height, width = pixels.shape[2:]
    best = (0.0, 0, 0, 0)
    for size in sizes:
        for row in range(height - size + 1):
            for column in range(width - size + 1):
                area = np.s_[:, row : row + size, column : column + size]
                patches = [image[area] for image in pixels]
                members = [patch for patch, is_own in zip(patches, own, strict=True) if is_own]
                middle = np.sort(members, 0)[(len(members) - 1) // 2]
                within = [np.sqrt(((patch - middle) ** 2).mean()) for patch in members]
                other = [np.sqrt(((p - middle) ** 2).mean()) for p, o in zip(patches, own, strict=True) if not o]
                edges = []
                for image, is_own in zip(pixels, own, strict=True):
                    if is_own:
                        last_row, last_column = row + size - 1, column + size - 1
                        rows, columns = slice(row, row + size), slice(column, column + size)
                        sides = []
                        if row > 0:
                            sides.append(np.abs(image[:, row, columns] - image[:, row - 1, columns]).mean())
                        if last_row < height - 1:
                            sides.append(np.abs(image[:, last_row, columns] - image[:, last_row + 1, columns]).mean())
                        if column > 0:
                            sides.append(np.abs(image[:, rows, column] - image[:, rows, column - 1]).mean())
                        if last_column < width - 1:
                            sides.append(np.abs(image[:, rows, last_column] - image[:, rows, last_column + 1]).mean())
                        edges.append(min(sides))
                upper = sorted(within)[len(within) - int(0.1 * len(within)) - 1]
                lower = [sorted(values)[int(0.1 * len(values))] for values in (other, edges)]
                score = min(lower) / (upper + FLOOR)
                if score > best[0]:
                    best = (score, size, row, column)
    return best


@pytest.mark.parametrize("channels", [1, 3])
def test_the_score_is_that_of_the_formula(channels):
    random = torch.Generator().manual_seed(channels)
    pixels = torch.rand(24, channels, 9, 7, generator=random) * 0.5
    own = torch.arange(24) < 12
    pixels[own, :, 3:5, 2:4] = pixels[0, :, 3:5, 2:4]
    patch = best_patch(pixels, own, (2, 3))
    score, size, row, column = by_hand(pixels, own, (2,))
    assert (patch.size, patch.row, patch.column) == (size, row, column) == (2, 3, 2)
    assert patch.score == pytest.approx(score, rel=1e-4)
    noise = torch.rand(24, channels, 9, 9, generator=random)
    patch = best_patch(noise, own, (2, 3))
    score, *place = by_hand(noise, own, (2, 3))
    assert [patch.size, patch.row, patch.column] == place
    assert patch.score == pytest.approx(score, rel=1e-4)
    assert patch.score < 2


def test_one_exception_in_ten_is_allowed():
    pixels = torch.rand(40, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    own = torch.arange(40) < 20
    pixels[own, :, 4:7, 4:7] = 1.0
    whole = best_patch(pixels, own).score
    pixels[:2, :, 4:7, 4:7] = 0.0
    assert best_patch(pixels, own).score > whole / 2
    pixels[:4, :, 4:7, 4:7] = 0.0
    assert best_patch(pixels, own).score < 2
