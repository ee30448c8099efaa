"""Hashes of training images find exactly the images that are there, and nothing else."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from lightning_distill.sets.training_images import (
    HASH_BYTES,
    count_training_images,
    hash_training_images,
    join_training_images,
    rows_trained_on,
)

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (40, 1, 8, 8), dtype=np.uint8)


def test_shared_images_are_found_by_row_whatever_their_type():
    entry = json.loads(json.dumps(hash_training_images(IMAGES)))
    scored = np.concatenate([255 - IMAGES[:5], IMAGES[7:9], IMAGES[:1]])
    assert rows_trained_on(scored, entry).tolist() == [5, 6, 7]
    assert rows_trained_on(scored.astype(np.float32), entry).tolist() == [5, 6, 7]
    assert rows_trained_on(scored.reshape(8, 1, 4, 16), entry).tolist() == [], "the shape counts"
    changed = IMAGES.copy()
    changed[:, 0, 0, 0] ^= 1
    assert rows_trained_on(changed, entry).tolist() == []


def test_equal_images_have_equal_entries_and_others_another_key():
    first, again, other = (hash_training_images(images)[0] for images in (IMAGES, IMAGES.copy(), IMAGES[1:]))
    assert first == again
    assert first["key"] != other["key"]
    packed = base64.b64decode(first["hashes"])
    assert len(packed) == 40 * HASH_BYTES
    hashes = {packed[at : at + HASH_BYTES] for at in range(0, len(packed), HASH_BYTES)}
    others = base64.b64decode(other["hashes"])
    assert not hashes & {others[at : at + HASH_BYTES] for at in range(0, len(others), HASH_BYTES)}


def test_the_entry_is_bounded_and_says_so():
    (record,) = hash_training_images(IMAGES, limit=30)
    assert (record["count"], record["kept"]) == (40, 30)
    assert len(rows_trained_on(IMAGES, [record])) == 30


def test_several_sources_and_broken_records():
    entry = [*hash_training_images(IMAGES[:10]), *hash_training_images(IMAGES[20:30])]
    assert rows_trained_on(IMAGES, entry).tolist() == [*range(10), *range(20, 30)]
    for broken in (None, 3, "text", [], [{}], [{"key": "zz", "bytes": 5, "hashes": ""}], [{**entry[0], "bytes": 0}]):
        assert rows_trained_on(IMAGES, broken).tolist() == []


def test_joined_sets_count_the_same_images_once():
    one, two = hash_training_images(IMAGES[:10]), hash_training_images(IMAGES[20:35], limit=4)
    joined = join_training_images([one, None, two, one, "text", [{}]])
    assert joined == [*one, *two]
    assert count_training_images(joined) == (25, 14)
    assert count_training_images(hash_training_images(np.concatenate([IMAGES, IMAGES]))) == (80, 80)
    assert count_training_images(None) == count_training_images([3, {}]) == (0, 0)


@pytest.mark.parametrize("size", [(1, 8, 8), (3, 4, 4)])
def test_random_images_are_not_found(size):
    entry = hash_training_images(RANDOM.integers(0, 256, (2000, *size), dtype=np.uint8))
    assert len(rows_trained_on(RANDOM.integers(0, 256, (2000, *size), dtype=np.uint8), entry)) == 0
