"""Nearest real images, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lightning_distill import DataSpec
from lightning_distill.report import nearest, neighbour_picture
from lightning_distill.report.neighbours import check_fits, count_chunks

SPEC = DataSpec("toy", (2, 4, 3), ("ant", "bee", "cat"), (100.0, 50.0), (40.0, 10.0))


def images(count, seed, dtype=np.uint8, shape=(2, 4, 3)):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(dtype)


@pytest.mark.parametrize("at_once", [1, 24, 100, 10**9])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_nearest_image_is_found_in_every_part_of_the_pool(dtype, at_once):
    queries, pool = images(7, 0, dtype), images(30, 1, dtype)
    mean, std = np.reshape(SPEC.mean, (2, 1, 1)), np.reshape(SPEC.std, (2, 1, 1))
    ticks = []
    result = nearest(torch.from_numpy(queries), pool, SPEC, lambda: ticks.append(1), at_once)
    for m, query in enumerate(queries):
        distances = []
        for real in pool:
            difference = (query.astype(float) - mean) / std - (real.astype(float) - mean) / std
            distances.append(np.sqrt((difference**2).sum() / 24))
        assert result.rows[m] == np.argmin(distances)
        assert result.distances[m] == pytest.approx(min(distances), rel=1e-5)
    assert result.pool == 30
    assert len(ticks) == count_chunks(pool, at_once)


def test_a_copy_is_at_distance_zero_and_one_pixel_off_is_not():
    pool = images(200, 2, shape=(2, 4, 3))
    queries = pool[[5, 17, 3]].copy()
    queries[2, 0, 0, 0] ^= 1
    result = nearest(torch.from_numpy(queries), pool, SPEC, chunk_elements=1000)
    assert result.rows.tolist() == [5, 17, 3]
    assert result.distances[:2].tolist() == [0, 0]
    assert 0 < result.distances[2] < 0.01
    assert result.equal == 2


def test_a_pool_on_disk_that_cannot_be_written_is_read(tmp_path):
    np.save(tmp_path / "pool.npy", images(10, 3))
    pool = np.load(tmp_path / "pool.npy", mmap_mode="r")
    assert nearest(torch.from_numpy(np.array(pool[4:5])), pool, SPEC).rows.tolist() == [4]


def test_other_shapes_and_classes_are_refused_with_both():
    with pytest.raises(ValueError, match=r"\(2, 4, 3\), the real ones \(1, 4, 3\)"):
        nearest(torch.from_numpy(images(2, 0)), images(2, 0, shape=(1, 4, 3)), SPEC)
    other = DataSpec("other", (1, 8, 8), SPEC.class_names, (0.0,), (1.0,))
    with pytest.raises(ValueError, match=r"toy has images \(2, 4, 3\), other has \(1, 8, 8\)"):
        check_fits(SPEC, other)
    other = DataSpec("other", SPEC.shape, ("ant", "wasp", "cat"), (0.0,), (1.0,))
    with pytest.raises(ValueError, match="classes are ant, bee, cat; those of other are ant, wasp, cat"):
        check_fits(SPEC, other)
    check_fits(SPEC, SPEC)


def test_the_picture_shows_each_image_above_its_neighbours():
    spec = DataSpec("toy", (1, 4, 4), ("ant", "bee", "cat"), (0.0,), (1.0,))
    level = lambda *values: np.stack([np.full((1, 4, 4), v, np.uint8) for v in values])  # noqa: E731
    queries, train, val = torch.from_numpy(level(10, 60, 210)), level(0, 62, 200), level(30, 90, 240)
    labels = torch.tensor([0, 0, 2])
    pools = [(name, pool, nearest(queries, pool, spec)) for name, pool in (("train", train), ("val", val))]
    picture = np.asarray(neighbour_picture(queries, labels, spec, pools, cell=40))
    assert picture.shape[0] % 2 == 0  # a band for ants and one for cats, none for bees
    for band, columns in zip(np.split(picture, 2), ([(10, 0, 30), (60, 62, 30)], [(210, 200, 240)]), strict=True):
        for values in columns:
            tops = []
            for value in values:
                tiles = (band == value).all(2)
                whole = [y for y in range(len(band) - 39) if tiles[y : y + 40].all(0).sum() >= 40]
                assert whole, f"no whole tile of {value}"
                tops.append(whole[0])
            assert tops == sorted(tops)
            assert len(set(tops)) == 3
