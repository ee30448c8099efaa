"""Copy detection and the contrastive embedding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lightning_distill.evaluation.copies.detection import best, detect_copies, mean_counts
from lightning_distill.evaluation.copies.embedding import ContrastiveEmbedding, nt_xent
from lightning_distill.spec import DataSpec


def unit(random, count, features=16):
    rows = random.normal(size=(count, features))
    rows -= rows.mean(1, keepdims=True)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_copies_are_counted_and_strangers_are_not():
    random = np.random.default_rng(0)
    train, held, strangers = unit(random, 300), unit(random, 300), unit(random, 40)
    copied = detect_copies(train, held, train[:40])
    assert copied.copies == 1
    assert copied.memorised == pytest.approx(40 / 300, abs=0.05)
    assert copied.distance_ratio < 0.01
    stranger = detect_copies(train, held, strangers)
    assert stranger.copies == pytest.approx(stranger.copies_null, abs=0.2)
    assert stranger.closer_low < 0.5 < stranger.closer_high
    assert abs(stranger.distance_ratio - stranger.distance_ratio_null) < 0.1


def test_the_threshold_is_the_percentile_of_correlations_with_held_out_images():
    random = np.random.default_rng(1)
    train, held, images = unit(random, 50), unit(random, 20), unit(random, 5)
    found = detect_copies(train, held, images, seed=3)
    order = np.random.default_rng(3).permutation(20)
    nearest = np.array([np.corrcoef(row, held[order[:10]])[0, 1:].max() for row in train])
    assert found.threshold == pytest.approx(np.percentile(nearest, 95), abs=1e-5)
    reached = [np.corrcoef(row, train)[0, 1:].max() > found.threshold for row in images]
    assert found.copies == pytest.approx(np.mean(reached))
    memorised = [np.corrcoef(row, images)[0, 1:].max() > found.threshold for row in train]
    assert found.memorised == pytest.approx(np.mean(memorised))
    null = held[order[10:]][:5]
    assert found.memorised_null == pytest.approx(
        np.mean([np.corrcoef(row, null)[0, 1:].max() > found.threshold for row in train])
    )


def test_largest_correlations_are_found_in_parts(monkeypatch):
    from lightning_distill.evaluation.copies import detection

    random = np.random.default_rng(0)
    a, b = unit(random, 9), unit(random, 7)
    whole = best(a, b, 2)
    np.testing.assert_allclose(whole, np.sort(a @ b.T, 1)[:, ::-1][:, :2], rtol=1e-6)
    monkeypatch.setattr(detection, "PAIRS", 14)
    np.testing.assert_allclose(best(a, b, 2), whole, rtol=1e-6, atol=1e-7)
    parts = [detect_copies(a, b, b[:2]), detect_copies(a, b, b[2:5])]
    assert mean_counts(parts).images == 5


def test_too_few_images_are_refused():
    random = np.random.default_rng(0)
    with pytest.raises(ValueError, match="needs 2 training and 4 held-out images, not 5, 3"):
        detect_copies(unit(random, 5), unit(random, 3), unit(random, 2))


def test_the_contrastive_loss_is_that_of_the_formula():
    a, b = torch.randn(4, 6), torch.randn(4, 6)
    rows = np.concatenate([a.numpy(), b.numpy()]).astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    losses = []
    for i in range(8):
        exponentials = [np.exp(rows[i] @ rows[j] / 0.07) for j in range(8)]
        losses.append(-np.log(exponentials[(i + 4) % 8] / (sum(exponentials) - exponentials[i])))
    assert float(nt_xent(a, b)) == pytest.approx(np.mean(losses), rel=1e-5)


def test_the_embedding_joins_views_and_is_read_again(tmp_path):
    random = np.random.default_rng(0)
    images = random.integers(0, 255, (64, 1, 16, 16)).astype(np.uint8)
    images[:, :, 4:12, 4:12] = random.integers(0, 255, (64, 1, 1, 1))
    spec = DataSpec("x", (1, 16, 16), ("a", "b"), (127.0,), (60.0,))
    fitted = ContrastiveEmbedding.fit_or_load(tmp_path, images, spec, digest="a", network="convnet_w16", steps=30)
    embedded = fitted(images)
    np.testing.assert_allclose(np.linalg.norm(embedded, axis=1), 1, rtol=1e-5)
    assert np.abs(embedded.mean(1)).max() < 1e-5
    mirrored = fitted(np.ascontiguousarray(images[..., ::-1]))
    same, other = (embedded * mirrored).sum(1), (embedded * np.roll(mirrored, 1, 0)).sum(1)
    assert same.mean() > other.mean() + 0.3
    again = ContrastiveEmbedding.fit_or_load(tmp_path, images, spec, digest="a", network="convnet_w16", steps=30)
    np.testing.assert_array_equal(again(images), embedded)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:100])
    mended = ContrastiveEmbedding.fit_or_load(tmp_path, images, spec, digest="a", network="convnet_w16", steps=30)
    np.testing.assert_array_equal(mended(images), embedded)
    ContrastiveEmbedding.fit_or_load(tmp_path, images, spec, digest="b", network="convnet_w16", steps=1)
    assert len(list(tmp_path.iterdir())) == 2, "one file for other images"
