"""Tests of the loaders: batches depend on (seed, k) only, are balanced, without repeats, and read from disk."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from lightning_distill.data import ClassBalancedLoader, SequentialLoader

COUNTS = (40, 7, 3)


def numbered(counts=COUNTS, seed=0, dtype=np.int64):
    """Images that say their own row in every pixel, in a shuffled order of classes."""
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    images = np.arange(len(labels), dtype=dtype)[:, None, None, None] * np.ones((1, 1, 2, 2), dtype)
    return images, labels


def draws(per_class=5, steps=4, seed=0, counts=COUNTS, dtype=np.int64):
    images, labels = numbered(counts, dtype=dtype)
    return ClassBalancedLoader(images, labels, num_classes=len(counts), per_class=per_class, steps=steps, seed=seed)


def rows(x):
    return x[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("per_class", [1, 3, 5, 16])
def test_every_batch_holds_per_class_images_of_every_class_in_order(per_class):
    _, labels = numbered()
    for x, y in draws(per_class):
        assert x.shape == (3 * per_class, 1, 2, 2)
        assert y.dtype == torch.int64
        assert y.tolist() == sorted(list(range(3)) * per_class)
        assert labels[rows(x)].tolist() == y.tolist()


@pytest.mark.parametrize("k", [0, 1, 17, 2**40])
def test_a_class_that_is_large_enough_gives_no_image_twice(k):
    for label, members in enumerate(np.split(np.array(rows(draws(per_class=3).batch(k)[0])), 3)):
        assert len(set(members)) == 3, f"class {label} repeats"


@pytest.mark.parametrize("per_class", [4, 7, 10, 23])
def test_a_small_class_gives_each_image_at_least_as_often_as_it_fits(per_class):
    for k in range(5):
        x, y = draws(per_class).batch(k)
        for label, size in enumerate(COUNTS):
            _, times = np.unique(np.array(rows(x))[y.numpy() == label], return_counts=True)
            fits = per_class // size
            assert len(times) == (size if fits else per_class)
            assert times.min() >= fits
            assert times.max() <= fits + 1
            assert times.sum() == per_class


def test_a_batch_depends_on_seed_and_number_alone():
    fresh, used = draws(), draws()
    for _ in itertools.islice(used, 3):
        pass
    used.batch(99)
    np.random.seed(1)
    torch.manual_seed(1)
    for k in (5, 0, 123):
        assert torch.equal(fresh.batch(k)[0], used.batch(k)[0])


def test_other_numbers_and_other_seeds_give_other_batches():
    batches = {tuple(rows(draws(seed=seed).batch(k)[0])) for seed in range(4) for k in range(4)}
    assert len(batches) == 16


def test_two_classes_of_one_size_are_drawn_independently():
    same = draws(per_class=4, counts=(30, 30))
    _, labels = numbered((30, 30))
    place = {row: index for label in (0, 1) for index, row in enumerate(np.flatnonzero(labels == label))}
    picks = [np.split(np.array([place[row] for row in rows(same.batch(k)[0])]), 2) for k in range(5)]
    assert any(first.tolist() != second.tolist() for first, second in picks)


def test_every_image_is_drawn_equally_often_in_the_long_run():
    loader, (_, labels) = draws(per_class=4), numbered()
    seen = np.bincount(np.concatenate([rows(loader.batch(k)[0]) for k in range(1000)]), minlength=50)
    for label, size in enumerate(COUNTS):
        share = seen[labels == label] / (1000 * 4 / size)
        assert share.min() > 0.6, f"class {label}"
        assert share.max() < 1.4, f"class {label}"


def test_one_pass_has_steps_batches_and_the_next_pass_goes_on():
    loader = draws(steps=4)
    assert len(loader) == 4
    first, second = [rows(x) for x, _ in loader], [rows(x) for x, _ in loader]
    assert first + second == [rows(draws().batch(k)[0]) for k in range(8)]


@pytest.mark.parametrize("seen", range(9))
def test_a_resumed_loader_gives_what_the_stopped_one_would_have(seen):
    stopped, whole = draws(steps=4), [rows(draws().batch(k)[0]) for k in range(16)]
    forever = (rows(x) for _ in range(3) for x, _ in stopped)
    assert list(itertools.islice(forever, seen)) == whole[:seen]
    state = stopped.state_dict()
    assert state == {"next": seen}
    resumed = draws(steps=4)
    resumed.load_state_dict(state)
    rest = [rows(x) for x, _ in resumed]
    assert rest == whole[seen : seen + 4 - seen % 4]
    assert [rows(x) for x, _ in resumed] == whole[seen + len(rest) : seen + len(rest) + 4]


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64])
def test_images_keep_their_dtype(dtype):
    x, _ = draws(dtype=dtype).batch(0)
    assert x.dtype == torch.from_numpy(np.zeros(1, dtype)).dtype


def test_mapped_arrays_give_the_same_batches_and_stay_on_disk(tmp_path):
    images, labels = numbered()
    np.save(tmp_path / "x.npy", np.ascontiguousarray(images.transpose(0, 2, 3, 1)))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r").transpose(0, 3, 1, 2)
    loader = ClassBalancedLoader(mapped, labels, num_classes=3, per_class=5, steps=4, seed=0)
    assert isinstance(loader.images, np.memmap)
    for (x, y), (expected, y_expected) in zip(loader, draws(), strict=True):
        assert torch.equal(x, expected)
        assert torch.equal(y, y_expected)


def test_batches_are_writable_copies():
    images, labels = numbered()
    x, _ = ClassBalancedLoader(images, labels, num_classes=3, per_class=5, steps=4, seed=0).batch(0)
    x.zero_()
    assert images.max() == 49


@pytest.mark.parametrize("batch_size", [1, 7, 50, 64])
@pytest.mark.parametrize("shape", [(), (14,)], ids=["labels", "targets"])
def test_batches_give_every_image_once_and_in_order(batch_size, shape):
    images, labels = numbered()
    labels = labels if shape == () else np.random.default_rng(0).integers(0, 2, (50, *shape))
    loader = SequentialLoader(images, labels, batch_size)
    batches = list(loader)
    assert len(batches) == len(loader) == -(-50 // batch_size)
    assert [row for x, _ in batches for row in rows(x)] == list(range(50))
    assert torch.cat([y for _, y in batches]).tolist() == labels.tolist()
    assert all(len(x) == len(y) == batch_size for x, y in batches[:-1])


@pytest.mark.filterwarnings("error")
def test_batches_of_a_read_only_map_may_be_written_to(tmp_path):
    images, labels = numbered(dtype=np.float32)
    np.save(tmp_path / "x.npy", images)
    was = torch.is_warn_always_enabled()
    torch.set_warn_always(True)  # torch says once a process that a tensor's memory is read-only
    try:
        x, _ = next(iter(SequentialLoader(np.load(tmp_path / "x.npy", mmap_mode="r"), labels, 8)))
    finally:
        torch.set_warn_always(was)
    assert rows(x) == list(range(8))
