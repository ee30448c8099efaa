"""Sub-images of stored images: decoder, encoder, and every place a set with them passes through."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lightning_distill import DataSpec, load_set
from lightning_distill.evaluation.baselines import coreset_sampler
from lightning_distill.sets.adapt import map_class_names, resize_set
from lightning_distill.sets.coresets import select
from lightning_distill.sets.formation import NUMPY_DECODER, decode, encode, validate_formation
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.merge import merge_sets
from lightning_distill.sets.storage import read_set, save_set
from lightning_distill.sets.synthetic import SyntheticSet, limit_to_available

SPEC = DataSpec("toy", (1, 8, 9), ("ant", "bee"), (100.0,), (50.0,))
SIZES = pytest.mark.parametrize("size", [(8, 8), (9, 11), (28, 28), (13, 8)], ids=str)
FORMATIONS = pytest.mark.parametrize("f", [2, 3])


def cells(images, f):
    """Cut images into cells by slicing, row by row."""
    h, w = images.shape[2:]
    edges = [[a * n // f for a in range(f + 1)] for n in (h, w)]
    for image in images:
        for r in range(f):
            for c in range(f):
                yield image[None, :, edges[0][r] : edges[0][r + 1], edges[1][c] : edges[1][c + 1]]


def real(count=40, seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (count, *SPEC.shape)).astype(np.uint8), np.arange(count) % 2


def labeled_set(f=2, soft=True, seed=0):
    random = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (4, *SPEC.shape), generator=random, dtype=torch.uint8)
    probabilities = torch.rand(4 * f * f, 2, generator=random).softmax(1) if soft else None
    return LabeledSet(pixels, torch.tensor([0, 0, 1, 1]), SPEC, probabilities, formation=f)


@SIZES
@FORMATIONS
def test_decoding_equals_bilinear_interpolation_of_each_cell(size, f):
    images = torch.rand(3, 2, *size)
    expected = [F.interpolate(cell, size, mode="bilinear", align_corners=False) for cell in cells(images, f)]
    assert torch.allclose(decode(images, f), torch.cat(expected), atol=1e-6)


@SIZES
@FORMATIONS
def test_encoding_equals_area_interpolation_into_each_cell(size, f):
    images = torch.rand(2 * f * f, 3, *size, dtype=torch.float64)
    for image, cell in zip(images, cells(encode(images, f), f), strict=True):
        h, w = cell.shape[2:]
        fine = image[None].repeat_interleave(h, 2).repeat_interleave(w, 3)  # common multiples: area means are exact
        expected = F.avg_pool2d(fine, size)
        assert torch.allclose(cell, expected, atol=1e-7)


@SIZES
@FORMATIONS
def test_the_numpy_lines_of_the_card_decode_alike(size, f):
    images = torch.rand(2, 3, *size)
    scope = {"np": np, "images": images.numpy(), "f": f}
    exec(NUMPY_DECODER, scope)
    assert np.allclose(scope["decoded"], decode(images, f).numpy(), atol=1e-5)


def test_gradients_are_exact_and_stay_in_their_cell():
    images = torch.rand(2, 1, 9, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: decode(x, 2), images)
    (gradient,) = torch.autograd.grad(decode(images, 2)[1].sum(), images)  # sub-image 1: upper right cell of image 0
    assert gradient[0, :, :4, 4:].min() > 0
    gradient[0, :, :4, 4:] = 0
    assert gradient.abs().sum() == 0


def test_one_sub_image_is_the_image_itself():
    images = torch.rand(2, 1, 8, 8)
    assert decode(images, 1) is images
    assert encode(images, 1) is images
    assert (whole := labeled_set(1)).decode() is whole


def test_decoding_keeps_float32_under_autocast():
    images = torch.rand(2, 1, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(decode(images, 2), decode(images.clone(), 2).float())
        assert decode(images, 2).dtype == torch.float32
    assert (decode(torch.ones(1, 1, 9, 7), 2) - 1).abs().max() < 1e-6  # the weights of a pixel sum to one


@pytest.mark.parametrize(
    ("formation", "shape", "way_out"),
    [(0, (1, 8, 8), "at least 1"), (3, (1, 8, 28), "formation=2 or less"), (2, (3, 7, 7), "formation=1 or less")],
)
def test_bad_formations_are_refused_with_the_largest_that_fits(formation, shape, way_out):
    with pytest.raises(ValueError, match=f"formation={formation}.*{way_out}"):
        validate_formation(formation, shape)


@pytest.mark.parametrize("init", ["real", "herding", "kmeans", "kcenter", "noise"])
def test_a_set_starts_from_four_images_in_each(init):
    images, labels = real()
    synthetic = SyntheticSet.from_real_data(images, labels, SPEC, 3, init, 0, formation=2)
    assert synthetic.images.shape == (6, *SPEC.shape)
    assert synthetic.counts == [12, 12]
    assert synthetic.decoded().shape == (24, *SPEC.shape)
    assert synthetic.decoded_labels.tolist() == synthetic.targets().tolist() == [0] * 12 + [1] * 12
    assert torch.allclose(torch.cat([synthetic.of_class(0), synthetic.of_class(1)]), synthetic.decoded())
    if init != "noise":
        rows = select("random" if init == "real" else init, images, labels, [12, 12], SPEC, 0)
        expected = encode(SPEC.normalize(torch.from_numpy(images[rows])), 2)
        assert torch.equal(synthetic.images.detach(), expected)


def test_students_see_the_decoded_export():
    synthetic = SyntheticSet.from_real_data(*real(), SPEC, 2, "real", 0, formation=2)
    exported = LabeledSet(synthetic.pixels(), synthetic.labels, SPEC, formation=2).decode()
    assert exported.pixels.shape == (16, *SPEC.shape)
    assert torch.allclose(SPEC.normalize(exported.pixels), synthetic.exported_images(), atol=1e-5)


def test_too_few_images_for_the_sub_images():
    with pytest.raises(
        ValueError, match="class 'ant' has 5 training images, ipc=2 with formation=2 needs 8; lower ipc"
    ):
        limit_to_available([2, 2], [5, 9], SPEC, "error", 2)
    assert limit_to_available([2, 2], [5, 9], SPEC, "fewer", 2) == [1, 2]
    assert limit_to_available([2, 2], [3, 9], SPEC, "fewer", 2) == [1, 2]
    assert limit_to_available([2, 2], [3, 9], SPEC, "repeat", 2) == [2, 2]
    images, labels = real(6)
    repeated = SyntheticSet.from_real_data(images, labels, SPEC, 1, "herding", 0, "fewer", formation=2)
    assert repeated.counts == [4, 4]


@pytest.mark.parametrize("soft", [True, False])
def test_a_file_comes_back_and_loads_decoded(soft, tmp_path):
    data = labeled_set(soft=soft)
    path = save_set(tmp_path, data, {"method": "test"})
    back, card = read_set(path)
    assert back.formation == card["formation"] == 2
    assert torch.equal(back.pixels, data.pixels)
    assert card["decode"] == NUMPY_DECODER
    images, targets = load_set(path).tensors
    assert torch.allclose(images, SPEC.normalize(decode(data.pixels.float(), 2)), atol=1e-6)
    assert torch.equal(targets, data.soft_labels if soft else torch.tensor([0] * 8 + [1] * 8))


def test_a_plain_file_has_no_trace_of_formation(tmp_path):
    _, card = read_set(save_set(tmp_path, labeled_set(1), {}))
    assert not {"formation", "decode"} & set(card)


def test_merging_keeps_equal_formations_and_decodes_others():
    first, second = labeled_set(seed=1), labeled_set(soft=False, seed=2)
    both = merge_sets([first, second])
    assert (both.formation, len(both.labels), len(both.soft_labels)) == (2, 8, 32)
    decoded = both.decode()
    assert decoded.targets.argmax(1)[decoded.labels == 1].float().mean() >= 0.5
    assert torch.equal(decoded.soft_labels[:8], first.soft_labels[:8])  # class 0 of the first set, then of the second
    assert torch.equal(decoded.soft_labels[8:16], torch.tensor([[1.0, 0.0]]).expand(8, 2))
    mixed = merge_sets([first, labeled_set(1, seed=3)])
    assert (mixed.formation, mixed.pixels.dtype, len(mixed.labels)) == (1, torch.uint8, 20)


def test_classes_are_mapped_with_their_sub_images_and_resizing_decodes():
    data = labeled_set()
    swapped = map_class_names(data, replace(SPEC, class_names=("bee", "ant")), {"ant": "ant", "bee": "bee"})
    assert torch.equal(swapped.pixels, data.pixels[[2, 3, 0, 1]])
    assert torch.equal(swapped.soft_labels, data.soft_labels.flip(1)[[*range(8, 16), *range(8)]])
    resized = resize_set(data, (1, 16, 16))
    assert (resized.formation, resized.pixels.shape) == (1, (16, 1, 16, 16))


@pytest.mark.parametrize("method", ["random", "herding"])
def test_picks_are_reduced_and_stored_in_the_dtype_of_the_file(method):
    images, labels = real()
    picked = coreset_sampler(method, (images, labels), [2, 2], SPEC, 0, formation=2)(0)
    assert (picked.formation, picked.pixels.shape, picked.pixels.dtype) == (2, (4, *SPEC.shape), torch.uint8)
    assert picked.labels.tolist() == [0, 0, 1, 1]
    assert picked.decode().labels.tolist() == [0] * 8 + [1] * 8
