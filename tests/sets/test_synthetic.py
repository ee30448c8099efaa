"""The distilled set: how it begins, what it ships, what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lightning_distill import DataSpec, SyntheticSet
from lightning_distill.sets.coresets import select
from lightning_distill.sets.synthetic import INIT_METHODS, images_per_class, limit_to_available

COUNTS = (12, 5, 20)
NAMES = ("ant", "bee", "cat")


def spec(dtype="uint8", channels=1, **changes):
    low, high = (0.0, 255.0) if dtype == "uint8" else (-3.0, 5.0)
    mean, std = ((120.0, 90.0, 60.0), (60.0, 50.0, 70.0)) if dtype == "uint8" else ((0.5, 0.2, 0.1), (2.0, 1.0, 0.5))
    options = {"min_value": low, "max_value": high, "storage_dtype": dtype, **changes}
    return DataSpec("toy", (channels, 4, 5), NAMES, mean[:channels], std[:channels], **options)


def data(dtype="uint8", channels=1):
    random = np.random.default_rng(0)
    labels = random.permutation(np.repeat(np.arange(3), COUNTS))
    if dtype == "uint8":
        return random.integers(0, 256, (37, channels, 4, 5)).astype(np.uint8), labels
    return (random.random((37, channels, 4, 5)) * 8 - 3).astype(np.float32), labels


def begin(ipc=4, init="real", seed=0, dtype="uint8", channels=1, **options):
    return SyntheticSet.from_real_data(*data(dtype, channels), spec(dtype, channels), ipc, init, seed, **options)


@pytest.mark.parametrize("start", INIT_METHODS)
@pytest.mark.parametrize("ipc", [1, 4, [1, 5, 3]], ids=str)
def test_images_are_one_parameter_and_labels_are_ordered_by_class(ipc, start):
    synthetic = begin(ipc, start)
    counts = [ipc] * 3 if isinstance(ipc, int) else ipc
    assert synthetic.counts == counts
    assert len(synthetic) == sum(counts)
    assert synthetic.images.shape == (sum(counts), 1, 4, 5)
    assert synthetic.images.dtype == torch.float32
    assert [name for name, _ in synthetic.named_parameters()] == ["images"]
    assert synthetic.labels.tolist() == np.repeat(range(3), counts).tolist()
    assert synthetic.labels.dtype == torch.int64
    assert set(synthetic.state_dict()) == {"images", "labels"}


@pytest.mark.parametrize("ipc", [4, [1, 5, 3]], ids=str)
def test_the_view_of_a_class_holds_its_images_and_passes_gradients_to_them_alone(ipc):
    synthetic = begin(ipc)
    for label in range(3):
        synthetic.zero_grad()
        view = synthetic.of_class(label)
        members = synthetic.labels == label
        assert torch.equal(view, synthetic.images[members])
        (view * 3).sum().backward()
        assert (synthetic.images.grad[members] == 3).all()
        assert not synthetic.images.grad[~members].any()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("pixel", ["uint8", "float16"])
@pytest.mark.parametrize("start", [start for start in INIT_METHODS if start != "noise"])
def test_starts_from_real_images_are_the_selected_images(start, pixel, channels):
    synthetic = begin([3, 2, 4], start, 7, pixel, channels)
    images, labels = data(pixel, channels)
    rows = select("random" if start == "real" else start, images, labels, [3, 2, 4], spec(pixel, channels), 7)
    torch.testing.assert_close(synthetic.images.data, spec(pixel, channels).normalize(torch.from_numpy(images[rows])))
    if pixel == "uint8":
        assert torch.equal(synthetic.pixels(), torch.from_numpy(images[rows]))
    for label in range(3):
        members = torch.from_numpy(images[labels == label])
        for image in spec(pixel, channels).denormalize(synthetic.of_class(label).detach()):
            assert (members - image).abs().amax((1, 2, 3)).min() < 1e-3


def test_noise_is_standard_normal_and_needs_no_images_of_its_class():
    synthetic = begin(500, "noise")
    assert synthetic.images.mean().item() == pytest.approx(0, abs=0.03)
    assert synthetic.images.std().item() == pytest.approx(1, abs=0.03)
    assert synthetic.counts == [500, 500, 500]


@pytest.mark.parametrize("start", INIT_METHODS)
def test_starts_are_seeded_and_leave_the_global_stream_alone(start):
    before = torch.random.get_rng_state()
    first, again, other = (begin(4, start, seed).images for seed in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(first, again)
    if start in ("real", "noise"):
        assert not torch.equal(first, other)


def test_the_start_does_not_share_memory_with_the_data():
    images, labels = data("float16")
    before = images.copy()
    flat = DataSpec("toy", (1, 4, 5), NAMES, (0.0,), (1.0,), -3.0, 5.0, "float16")
    synthetic = SyntheticSet.from_real_data(images, labels, flat, 4, "real", 0)
    synthetic.images.data.zero_()
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("start", INIT_METHODS)
def test_mapped_images_can_be_started_from(tmp_path, start):
    images, labels = data()
    np.save(tmp_path / "x.npy", images)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert torch.equal(SyntheticSet.from_real_data(mapped, labels, spec(), 4, start, 0).images, begin(4, start).images)


def test_small_classes_are_an_error_by_default_that_names_the_class():
    message = r"class 'bee' has 5 training images, ipc=6 needs 6; lower ipc or set on_small_class='repeat' or 'fewer'"
    with pytest.raises(ValueError, match=message):
        begin(6)
    assert begin([12, 5, 20]).counts == [12, 5, 20]


def test_fewer_takes_what_there_is():
    synthetic = begin([3, 9, 30], on_small_class="fewer")
    assert synthetic.counts == [3, 5, 20]
    for label, size in ((1, 5), (2, 20)):
        assert len(synthetic.of_class(label).unique(dim=0)) == size


@pytest.mark.parametrize("start", [start for start in INIT_METHODS if start != "noise"])
def test_repeat_gives_every_image_as_often_as_it_fits(start):
    synthetic = begin([3, 13, 4], start, on_small_class="repeat")
    assert synthetic.counts == [3, 13, 4]
    _, times = synthetic.of_class(1).unique(dim=0, return_counts=True)
    assert sorted(times.tolist()) == [2, 2, 3, 3, 3]


@pytest.mark.parametrize("policy", ["error", "fewer", "repeat"])
def test_noise_never_minds_small_classes(policy):
    assert begin([30, 30, 30], "noise", on_small_class=policy).counts == [30, 30, 30]


@pytest.mark.parametrize("start", ["real", "noise"])
def test_an_unknown_policy_is_refused(start):
    with pytest.raises(ValueError, match="unknown on_small_class 'skip'; use one of error, fewer, repeat"):
        begin(2, start, on_small_class="skip")


@pytest.mark.parametrize("start", ["random", "", "Real"])
def test_an_unknown_start_is_refused_with_the_known_ones(start):
    with pytest.raises(ValueError, match=f"unknown init '{start}'; use one of real, noise, kmeans, herding, kcenter"):
        begin(2, start)


@pytest.mark.parametrize(
    ("ipc", "message"),
    [
        (0, "ipc=0; every class needs at least 1 image"),
        (-1, "ipc=-1; every class"),
        ([2, 0, 1], r"ipc=\[2, 0, 1\]; every class"),
        ([2, 2], "ipc has 2 numbers but toy has 3 classes"),
        ([], "ipc has 0 numbers but toy has 3 classes"),
    ],
    ids=str,
)
@pytest.mark.parametrize("start", ["real", "noise"])
def test_a_wrong_ipc_is_refused(ipc, message, start):
    with pytest.raises(ValueError, match=message):
        begin(ipc, start)


@pytest.mark.parametrize(
    ("ipc", "counts"),
    [(2, [2, 2, 2]), ((1, 2, 3), [1, 2, 3]), ([4, 5, 6], [4, 5, 6]), (np.int64(2), [2, 2, 2])],
    ids=["int", "tuple", "list", "numpy integer"],
)
def test_ipc_is_one_number_or_one_for_each_class(ipc, counts):
    assert images_per_class(ipc, spec()) == counts


@pytest.mark.parametrize("policy", ["error", "fewer", "repeat"])
def test_policies_change_nothing_where_there_are_enough(policy):
    assert limit_to_available([5, 4, 3], [5, 6, 700], spec(), policy) == [5, 4, 3]


@pytest.mark.parametrize("pixel", ["uint8", "float16"])
def test_pixels_are_rounded_and_clipped_to_the_range_of_the_data(pixel):
    about = spec(pixel, 3)
    synthetic = begin(4, "noise", 0, pixel, 3)
    synthetic.images.data.mul_(4)
    pixels = synthetic.pixels()
    raw = synthetic.images.detach().double() * torch.tensor(about.std).double().view(-1, 1, 1)
    raw += torch.tensor(about.mean).double().view(-1, 1, 1)
    assert (raw < about.min_value).any()
    assert (raw > about.max_value).any()
    clipped = raw.clamp(about.min_value, about.max_value)
    assert pixels.dtype == {"uint8": torch.uint8, "float16": torch.float16}[pixel]
    error = (pixels.double() - clipped).abs()
    assert error.max() <= (0.5 + 1e-4 if pixel == "uint8" else 2**-9)
    assert pixels.min() == about.min_value
    assert pixels.max() == about.max_value
    assert not pixels.requires_grad


@pytest.mark.parametrize("pixel", ["uint8", "float16"])
def test_students_see_what_is_shipped(pixel):
    synthetic = begin(4, "noise", 0, pixel, 3)
    shipped = synthetic.exported_images()
    assert shipped.dtype == torch.float32
    assert torch.equal(shipped, synthetic.spec.normalize(synthetic.pixels()))
    assert not torch.equal(shipped, synthetic.images.detach())
    inside = (synthetic.spec.denormalize(synthetic.images) - synthetic.pixels()).abs() <= 0.5
    assert (shipped - synthetic.images)[inside].abs().max() <= 0.5 / min(synthetic.spec.std) + 1e-6


def test_pixels_of_a_large_range_stay_finite_as_float16():
    about = DataSpec("pet", (1, 4, 5), NAMES, (3e4,), (2e4,), 0.0, 7e4, "float16")
    synthetic = SyntheticSet(torch.arange(3), about)
    synthetic.images.data.fill_(5.0)
    assert synthetic.pixels().isfinite().all()
    assert synthetic.exported_images().isfinite().all()


def test_a_step_of_an_optimizer_moves_the_images():
    synthetic = begin(2)
    before = synthetic.images.detach().clone()
    sgd = torch.optim.SGD(synthetic.parameters(), lr=0.5)
    synthetic.of_class(1).square().sum().backward()
    sgd.step()
    torch.testing.assert_close(synthetic.of_class(1), torch.zeros(2, 1, 4, 5))
    assert torch.equal(synthetic.of_class(0), before[:2])


def test_what_else_is_learned_joins_the_parameters_and_comes_back_from_a_state():
    plain = begin()
    assert [name for name, _ in plain.named_parameters()] == ["images"]
    assert set(plain.state_dict()) == {"images", "labels"}
    assert torch.equal(plain.targets(), plain.labels)
    logits = torch.randn(len(plain), plain.spec.num_classes)
    rich = begin().add_learnables(logits, 0.02)
    assert [name for name, _ in rich.named_parameters()] == ["images", "soft_label_logits", "lr"]
    torch.testing.assert_close(rich.targets(), logits.softmax(1))
    rich.targets()[0, 0].backward()
    assert rich.soft_label_logits.grad.abs().sum() > 0
    for one in (plain, rich, begin().add_learnables(lr=0.5)):
        room = SyntheticSet.empty_like_state(one.state_dict(), one.spec)
        room.load_state_dict(one.state_dict())
        for name, tensor in one.state_dict().items():
            assert torch.equal(room.state_dict()[name], tensor)
