"""Real images of a class-balanced batch against indexing."""

from __future__ import annotations

import pytest
import torch

from lightning_distill.distillers.real_batch import RealBatch
from lightning_distill.spec import DataSpec

SPEC = DataSpec("some", (2, 4, 5), ("a", "b", "c"), mean=(100.0, 20.0), std=(30.0, 7.0))


@pytest.fixture(params=[torch.uint8, torch.float16, torch.float32], ids=str)
def pixels(request):
    torch.manual_seed(0)
    return torch.randint(0, 256, (12, 2, 4, 5)).to(request.param)


def by_hand(pixels):
    mean, std = (torch.tensor(v).view(2, 1, 1) for v in (SPEC.mean, SPEC.std))
    return (pixels.float() - mean) / std


def test_images_of_a_class_are_its_rows_normalised(pixels):
    real, labels = RealBatch(pixels, SPEC), torch.arange(3).repeat_interleave(4)
    assert real.per_class == 4
    for label in range(3):
        images = real.of_class(label)
        assert images.dtype == torch.float32
        assert torch.equal(images, SPEC.normalize(pixels[labels == label]))
        torch.testing.assert_close(images, by_hand(pixels[labels == label]))


@pytest.mark.parametrize("labels", [[0], [1, 2], [2, 0], [0, 1, 2], range(3)], ids=str)
@pytest.mark.parametrize("first", [None, 1, 3, 4, 100])
def test_images_of_classes_come_in_the_order_asked_for(pixels, labels, first):
    real, kept = RealBatch(pixels, SPEC), min(first or 4, 4)
    images = real.of_classes(labels, first=first)
    rows = [4 * label + i for label in labels for i in range(kept)]
    assert images.shape == (len(labels) * kept, 2, 4, 5)
    assert torch.equal(images, SPEC.normalize(pixels[rows]))


def test_pixels_are_left_alone(pixels):
    before, real = pixels.clone(), RealBatch(pixels, SPEC)
    real.of_class(1).zero_()
    real.of_classes([0, 2]).zero_()
    assert torch.equal(pixels, before)
    assert torch.equal(real.of_class(1), SPEC.normalize(before[4:8]))


@pytest.mark.parametrize("labels", [[0], [1, 2], [2, 0]], ids=str)
@pytest.mark.parametrize(("images", "portions"), [(100, [4]), (4, [4]), (3, [2, 2]), (1, [1] * 4), (0.1, [1] * 4)])
def test_portions_are_the_images_of_the_classes_no_more_at_a_time_than_is_good(
    pixels, labels, images, portions, monkeypatch
):
    monkeypatch.setattr("lightning_distill.distillers.real_batch.CHUNK_BYTES", int(images * len(labels) * 4 * 40))
    real = RealBatch(pixels, SPEC)
    chunks = [x.unflatten(0, (len(labels), -1)) for x in real.iter_chunks(labels)]
    assert [x.shape[1] for x in chunks] == portions
    assert torch.equal(torch.cat(chunks, 1).flatten(0, 1), real.of_classes(labels))
