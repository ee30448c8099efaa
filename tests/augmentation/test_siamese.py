"""Siamese augmentation against plain loops, and what siamese and plain promise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from kornia.augmentation import RandomHorizontalFlip
from reference import dsa
from scipy import stats

from lightning_distill.augmentation import siamese as augment
from lightning_distill.augmentation.presets import PRESETS
from lightning_distill.augmentation.siamese import SiameseAugmentation

#: The one parameter that is not drawn.
SHAPE = ("forward_input_shape",)
GROUPS = ("color", "crop", "cutout", "flip", "scale", "rotate")
#: Grey, RGB and five channels; square and not, even and odd sides.
SHAPES = ((1, 16, 16), (3, 12, 20), (5, 11, 9))
EXACT, WARP = 1e-6, 1e-4
TOLERANCE = {"color": EXACT, "crop": EXACT, "cutout": EXACT, "flip": EXACT, "scale": WARP, "rotate": WARP}


@pytest.fixture
def only(monkeypatch):
    """A SiameseAugmentation of one group alone."""

    def make(group, size):
        monkeypatch.setitem(PRESETS, group, (group,))
        return SiameseAugmentation(group, size)

    return make


@pytest.fixture
def draws(monkeypatch):
    """What `of_classes` drew so far: a list of (group number, parameters by the name of the operation)."""
    recorded, original = [], SiameseAugmentation._draw

    def noted(self, *given):
        group, params = original(self, *given)
        names = [type(operation).__name__ for operation in self._groups[group]]
        recorded.append((group, dict(zip(names, params, strict=True))))
        return group, params

    monkeypatch.setattr(SiameseAugmentation, "_draw", noted)
    return recorded


def for_all(leaves, count):
    """Parameters drawn once, for as many images."""
    assert all(len(value) == 1 for params in leaves.values() for key, value in params.items() if key not in SHAPE)
    return {name: {key: value.repeat_interleave(count, 0) for key, value in params.items() if key not in SHAPE}
            for name, params in leaves.items()}  # fmt: skip


def drawn(operation):
    """Parameters of every leaf operation of the last call, by its name without its running number."""
    leaves, items = [], list(operation._params)
    while items:
        item = items.pop(0)
        if isinstance(item.data, list):
            items = list(item.data) + items
        else:
            leaves.append((item.name.rsplit("_", 1)[0], item.data))
    return dict(leaves)


def expected(group, images, leaves):
    """The reference's images for the parameters that were drawn, by name of the operation, a row an image."""
    height, width = images.shape[2:]
    out = []
    for row, image in enumerate(images.double().numpy()):
        parameters = {name: {key: value[row].tolist() for key, value in params.items() if key not in SHAPE}
                for name, params in leaves.items()}  # fmt: skip
        if group == "color":
            u_brightness = parameters["RandomBrightness"]["brightness_factor"] - 0.5
            u_saturation = parameters["RandomSaturation"]["factor"] / 2
            out.append(dsa.color(image, u_brightness, u_saturation, parameters["RandomContrast"]["factor"] - 0.5))
        elif group == "crop":
            left, top = parameters["RandomCrop"]["src"][0]
            assert left == int(left)
            assert top == int(top)
            out.append(dsa.crop(image, int(top) - dsa.shift_of(height), int(left) - dsa.shift_of(width)))
        elif group == "cutout":
            unit = parameters["RandomCutout"]
            rows, columns = dsa.cutout_centres(height), dsa.cutout_centres(width)
            out.append(dsa.cutout(image, int(unit["row"] * len(rows)), int(unit["column"] * len(columns))))
        elif group == "flip":
            out.append(dsa.flip(image, parameters["RandomHorizontalFlip"]["batch_prob"] == 1.0))
        elif group == "scale":
            sx, sy = (1 / content for content in parameters["RandomGridScale"]["scale"])
            out.append(dsa.scale(image, sx, sy))
        else:
            out.append(dsa.rotate(image, parameters["RandomRotation"]["degrees"]))
    return np.stack(out)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("group", GROUPS)
def test_plain_draws_equal_the_reference_image_by_image(only, group, shape):
    torch.manual_seed(0)
    augmentation, images = only(group, shape[1:]), torch.rand(6, *shape) * 2 - 1
    result = augmentation.plain(images)
    assert result.shape == images.shape
    reference = expected(group, images, drawn(augmentation._plain))
    np.testing.assert_allclose(result.numpy(), reference, rtol=0, atol=TOLERANCE[group])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("group", GROUPS)
def test_siamese_draws_equal_the_reference(only, draws, group, shape):
    torch.manual_seed(1)
    augmentation, real, synthetic = only(group, shape[1:]), torch.rand(3, *shape), torch.rand(2, *shape)
    both = torch.cat(augmentation(real, synthetic))
    ((_, leaves),) = draws
    reference = expected(group, torch.cat([real, synthetic]), for_all(leaves, 5))
    np.testing.assert_allclose(both.numpy(), reference, rtol=0, atol=TOLERANCE[group])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("group", GROUPS)
def test_siamese_transforms_every_real_and_synthetic_image_alike(only, monkeypatch, group, shape):
    used, for_images = [], augment._for_images
    monkeypatch.setattr(augment, "_for_images", lambda *given: used.append(for_images(*given)) or used[-1])
    augmentation, image = only(group, shape[1:]), torch.randn(1, *shape)
    changed = False
    for seed in range(8):
        torch.manual_seed(seed)
        real, synthetic = augmentation(image.repeat(4, 1, 1, 1), image.repeat(3, 1, 1, 1))
        assert (len(real), len(synthetic)) == (4, 3)
        for other in (*real, *synthetic):
            torch.testing.assert_close(other, real[0], rtol=0, atol=1e-6)
        for params in used:
            for key, value in params.items():
                if key not in SHAPE:
                    assert len(value) == 7
                    assert (value == value[:1]).all(), f"{key} differs between images"
        assert used, "nothing was seen"
        changed |= not torch.allclose(real[0], image[0], atol=1e-3)
    assert changed


@pytest.mark.parametrize("group", GROUPS)
def test_plain_draws_for_each_image(only, group):
    torch.manual_seed(0)
    augmentation = only(group, (16, 16))
    result = augmentation.plain(torch.randn(1, 3, 16, 16).repeat(24, 1, 1, 1))
    different = {tuple(image.flatten().tolist()) for image in result}
    assert len(different) == 2 if group == "flip" else len(different) > 12


def uniform(values, low, high):
    """All inside the range, close to both its ends, and flat in between."""
    values = np.asarray(values, np.float64)
    assert values.min() >= low - 1e-6
    assert values.max() <= high + 1e-6
    assert values.min() < low + (high - low) * 0.01
    assert values.max() > high - (high - low) * 0.01
    assert stats.kstest((values - low) / (high - low), "uniform").pvalue > 1e-4


def many(only, group, size=(32, 32), count=8000):
    """The parameters kornia draws for ``count`` images; nothing is applied."""
    torch.manual_seed(3)
    operation = only(group, size)._plain
    padded = [side + 2 * dsa.shift_of(side) for side in size] if group == "crop" else size
    params = operation.forward_parameters(torch.Size([count, 1, *padded]))
    leaves = list(params)
    return {
        leaf.name.rsplit("_", 1)[0]: leaf.data
        for item in leaves
        for leaf in (item.data if isinstance(item.data, list) else [item])
    }


def test_color_factors_are_uniform_in_their_ranges(only):
    draws = many(only, "color")
    uniform(draws["RandomBrightness"]["brightness_factor"] - 1, -0.5, 0.5)
    uniform(draws["RandomSaturation"]["factor"], 0.0, 2.0)
    uniform(draws["RandomContrast"]["factor"], 0.5, 1.5)
    factors = np.stack([draws["RandomSaturation"]["factor"], draws["RandomContrast"]["factor"]])
    assert abs(np.corrcoef(factors)[0, 1]) < 0.05


def test_rotation_is_uniform_within_15_degrees(only):
    uniform(many(only, "rotate")["RandomRotation"]["degrees"], -15.0, 15.0)


def test_scale_of_the_grid_is_uniform_and_drawn_apart_for_both_axes(only):
    grid = 1 / many(only, "scale")["RandomGridScale"]["scale"].numpy()
    for axis in (0, 1):
        uniform(grid[:, axis], 1 / 1.2, 1.2)
    assert abs(np.corrcoef(grid.T)[0, 1]) < 0.05


def test_flip_is_a_fair_coin(only):
    heads = many(only, "flip")["RandomHorizontalFlip"]["batch_prob"]
    assert set(heads.tolist()) == {0.0, 1.0}
    assert heads.mean().item() == pytest.approx(0.5, abs=0.03)


def test_siamese_flip_is_one_fair_coin_per_call(only):
    torch.manual_seed(0)
    augmentation, image = only("flip", (2, 2)), torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])
    flipped = [augmentation(image, image)[1][0, 0, 0, 0].item() for _ in range(400)]
    assert sum(flipped) / 400 == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (28, 28), (8, 20), (11, 9)])
def test_crop_shifts_are_whole_and_every_shift_up_to_an_eighth_is_as_likely(only, height, width):
    torch.manual_seed(0)
    ramp = torch.arange(1.0, height * width + 1).view(1, 1, height, width).repeat(1500, 1, 1, 1)
    result = only("crop", (height, width)).plain(ramp)
    middle = result[:, 0, height // 2, width // 2].long() - 1  # always inside: shifts are an eighth
    down, right = middle // width - height // 2, middle % width - width // 2
    for shifts, side in ((down, height), (right, width)):
        values, counts = np.unique(shifts.numpy(), return_counts=True)
        assert values.tolist() == list(range(-dsa.shift_of(side), dsa.shift_of(side) + 1))
        assert stats.chisquare(counts).pvalue > 1e-4
    assert abs(np.corrcoef(down.numpy(), right.numpy())[0, 1]) < 0.1


@pytest.mark.parametrize(("height", "width"), [(32, 32), (28, 28), (7, 12)])
def test_cutout_erases_the_mean_area_of_all_centres(only, height, width):
    torch.manual_seed(0)
    result = only("cutout", (height, width)).plain(torch.ones(6000, 1, height, width))
    assert set(result.unique().tolist()) == {0.0, 1.0}
    erased = 1 - result.mean().item()
    assert erased == pytest.approx(dsa.cutout_mean_area(height, width), abs=0.004)


def test_cutout_erases_as_much_at_32_pixels_as_the_protocol_says():
    assert dsa.cutout_mean_area(32, 32) == pytest.approx(0.188, abs=0.002)


@pytest.mark.parametrize("unit", [0.0, 0.5, 1 - 2**-24])
@pytest.mark.parametrize("side", [7, 8, 28, 32, 224])
def test_cutout_is_clipped_alike_at_both_borders(unit, side):
    inside = augment.RandomCutout._inside(torch.tensor([unit, 1 - 2**-24 - unit]), side)
    assert inside.sum(1).min() >= dsa.cutout_side(side) // 2
    assert inside.sum(1).max() <= dsa.cutout_side(side)
    if unit != 0.5:
        assert torch.equal(inside[0], inside[1].flip(0))


def test_saturation_is_the_identity_on_grey_images():
    images = torch.randn(4, 1, 6, 6)
    torch.testing.assert_close(augment.RandomSaturation()(images), images)


def test_content_shrinks_where_the_scale_of_the_grid_is_above_one():
    image = torch.ones(1, 1, 20, 20)
    for content, covered in ((1.0, 20), (0.75, 15)):
        operation = augment.RandomGridScale()
        params = operation.forward_parameters(image.shape)
        params["scale"] = torch.tensor([[content, 1.0]])
        result = operation(image, params=params)[0, 0]
        assert result[10].sum().item() == pytest.approx(covered, abs=0.5)
        assert result[:, 10].sum().item() == pytest.approx(20, abs=1e-3)


def group_of(operation):
    (item,) = operation._params
    names = {"ImageSequential": "color", "RandomCrop": "crop", "RandomCutout": "cutout", "RandomGridScale": "scale"}
    names |= {"RandomHorizontalFlip": "flip", "RandomRotation": "rotate"}
    return names[item.name.rsplit("_", 1)[0]]


@pytest.mark.parametrize("mode", ["plain", "siamese"])
@pytest.mark.parametrize("preset", ["dsa", "dsa_noflip", "crop_scale_rotate"])
def test_one_group_of_the_preset_is_drawn_uniformly_per_call(draws, preset, mode):
    torch.manual_seed(0)
    augmentation, image = SiameseAugmentation(preset, (4, 4)), torch.ones(1, 1, 4, 4)
    groups = []
    for _ in range(600):
        if mode == "plain":
            augmentation.plain(image)
        else:
            augmentation(image, image)
        groups.append(group_of(augmentation._plain) if mode == "plain" else PRESETS[preset][draws[-1][0]])
    names, counts = np.unique(groups, return_counts=True)
    assert sorted(names.tolist()) == sorted(PRESETS[preset])
    assert stats.chisquare(counts).pvalue > 1e-4


def test_presets_hold_the_groups_of_the_protocol():
    groups = {"dsa": GROUPS, "dsa_noflip": ("color", "crop", "cutout", "scale", "rotate")}
    groups |= {"crop_scale_rotate": ("crop", "scale", "rotate"), "none": ()}
    groups |= {"dc_students": ("crop", "stretch", "turn")}
    groups |= {"dsa_grey_noflip": ("intensity", "crop", "cutout", "scale", "rotate")}
    assert groups == PRESETS


def test_grey_channels_are_never_mixed(only):
    """Windows of a scan get brighter and gain contrast together; saturation would blur one into the other."""
    x = torch.zeros(1, 2, 8, 8)
    x[:, 0, 2:5], x[:, 1, :, 3:6] = 1.0, -2.0
    for mode in ("plain", "siamese"):
        torch.manual_seed(0)
        augmentation = only("intensity", (8, 8))
        y = augmentation.plain(x) if mode == "plain" else augmentation(x, x)[1]
        slope = (y[0, 0, 3, 0] - y[0, 0, 0, 0]) / 1.0
        assert 0.5 <= slope <= 1.5
        assert slope != 1
        torch.testing.assert_close(y - y[:, :1, :1, :1], slope * x)  # x is zero there: a line through all channels


@pytest.mark.parametrize("preset", [name for name, groups in PRESETS.items() if "flip" not in groups])
def test_presets_without_flip_never_mirror(preset):
    augmentation = SiameseAugmentation(preset, (16, 16))
    operations = [operation for group in augmentation._groups for operation in group]
    assert len(augmentation._groups) == len(PRESETS[preset])
    for operation in operations + ([] if augmentation._plain is None else [augmentation._plain]):
        assert not any(isinstance(module, RandomHorizontalFlip) for module in operation.modules())
    image = torch.zeros(1, 1, 16, 16)
    image[..., :8] = 1.0  # bright on the left; no group but flip can make the right brighter
    torch.manual_seed(0)
    for _ in range(150):
        result = augmentation(image, image)[1]
        assert result[..., :8].sum() > result[..., 8:].sum()


def test_the_preset_with_flip_mirrors():
    augmentation, image = SiameseAugmentation("dsa", (16, 16)), torch.zeros(1, 1, 16, 16)
    image[..., :8] = 1.0
    torch.manual_seed(0)
    results = [augmentation(image, image)[1] for _ in range(150)]
    assert any(result[..., :8].sum() < result[..., 8:].sum() for result in results)


def test_none_returns_the_images_as_they_are():
    augmentation = SiameseAugmentation("none", (8, 8))
    real, synthetic = torch.randn(3, 1, 8, 8), torch.randn(2, 1, 8, 8, requires_grad=True)
    for result, image in zip(augmentation(real, synthetic), (real, synthetic), strict=True):
        assert torch.equal(result, image)
    assert torch.equal(augmentation.plain(real), real)


@pytest.mark.parametrize("mode", ["plain", "siamese"])
@pytest.mark.parametrize("group", GROUPS)
def test_gradients_reach_the_synthetic_images_and_none_the_real_ones(only, group, mode):
    torch.manual_seed(0)
    augmentation = only(group, (12, 12))
    real = torch.randn(3, 3, 12, 12, requires_grad=True)
    synthetic = torch.randn(2, 3, 12, 12, requires_grad=True)
    if mode == "siamese":
        seen, result = augmentation(real, synthetic)
        assert not seen.requires_grad
    else:
        result = augmentation.plain(synthetic)
    result.square().sum().backward()
    assert real.grad is None or not real.grad.any()
    assert synthetic.grad.isfinite().all()
    assert (synthetic.grad.flatten(1).norm(dim=1) > 1).all()


@pytest.mark.parametrize("group", GROUPS)
def test_outputs_are_never_clamped(only, group):
    augmentation, images = only(group, (12, 12)), torch.randn(4, 3, 12, 12)
    results = []
    for factor in (1.0, 1000.0):
        torch.manual_seed(0)
        results.append(
            torch.cat([*augmentation(factor * images, -factor * images), augmentation.plain(images * factor)])
        )
    assert results[1].min() < -500
    assert results[1].max() > 500
    # every group is linear but for the brightness, which adds half a unit at most, times a contrast of 1.5 at most
    torch.testing.assert_close(results[1] / 1000, results[0], rtol=1e-4, atol=0.76 if group == "color" else 1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("group", GROUPS)
def test_results_stay_float32_under_bf16_autocast_and_equal_those_without(only, group, dtype):
    augmentation = only(group, (12, 20))
    real, synthetic = torch.randn(2, 3, 12, 20).to(dtype), torch.randn(2, 3, 12, 20).to(dtype)
    results = []
    for enabled in (False, True):
        torch.manual_seed(5)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            results.append(torch.cat([*augmentation(real, synthetic), augmentation.plain(real)]))
    assert results[1].dtype == torch.float32
    assert torch.equal(results[0], results[1])


@pytest.mark.parametrize("mode", ["plain", "siamese"])
def test_equal_seeds_give_equal_images(mode):
    augmentation, images = SiameseAugmentation("dsa", (8, 8)), torch.randn(4, 1, 8, 8)
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        calls = [augmentation.plain(images) if mode == "plain" else augmentation(images, images)[0] for _ in range(8)]
        runs.append(torch.cat(calls))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_inputs_are_left_alone():
    augmentation = SiameseAugmentation("dsa", (8, 8))
    real, synthetic = torch.randn(2, 1, 8, 8), torch.randn(2, 1, 8, 8)
    before = real.clone(), synthetic.clone()
    torch.manual_seed(0)
    for _ in range(30):
        augmentation(real, synthetic)
        augmentation.plain(synthetic)
    assert torch.equal(real, before[0])
    assert torch.equal(synthetic, before[1])


def test_an_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(
        ValueError, match=r"unknown augmentation 'dsq'; use one of dsa, dsa_noflip, dsa_grey_noflip, crop_scale_rotate"
    ):
        SiameseAugmentation("dsq", (8, 8))


def test_students_of_dc_have_each_image_changed_by_one_of_three_operations():
    torch.manual_seed(0)
    images = torch.rand(600, 1, 12, 12) + torch.linspace(0, 1, 12)
    out = SiameseAugmentation("dc_students", (12, 12)).plain(images)
    assert out.shape == images.shape
    shifted = 0
    for image, changed in zip(images[:, 0], out[:, 0], strict=True):
        matched = False
        for down in range(-2, 3):
            for right in range(-2, 3):
                a = image[max(down, 0) : 12 + min(down, 0), max(right, 0) : 12 + min(right, 0)]
                b = changed[max(-down, 0) : 12 + min(-down, 0), max(-right, 0) : 12 + min(-right, 0)]
                matched |= torch.allclose(a, b, atol=1e-5)
        shifted += matched
    assert stats.binomtest(shifted, 600, 1 / 3).pvalue > 1e-4


def test_students_of_dc_see_the_mean_of_the_batch_where_an_image_ends():
    torch.manual_seed(0)
    images = torch.full((200, 2, 10, 10), 3.0)
    images[:, 1] = -5.0
    out = SiameseAugmentation("dc_students", (10, 10)).plain(images)
    torch.testing.assert_close(out, images)  # constant images are their own mean: nothing can be seen of the fill


COUNTS, SEEDS = (3, 1, 4, 2, 5, 1), (11, 5, 7, 11, 3, 8)


@pytest.mark.parametrize("preset", ["dsa", "dsa_noflip", "crop_scale_rotate", "dc_students"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_classes_together_are_each_class_alone(preset, shape):
    augmentation, images = SiameseAugmentation(preset, shape[1:]), torch.randn(sum(COUNTS), *shape)
    for base in range(8):
        seeds = [seed + 20 * base for seed in SEEDS]
        together = augmentation.of_classes(images, COUNTS, seeds)
        parts = zip(images.split(COUNTS), seeds, strict=True)
        alone = [augmentation.of_classes(part, [len(part)], [seed]) for part, seed in parts]
        torch.testing.assert_close(together, torch.cat(alone), rtol=1e-6, atol=1e-6)
    assert (together - images).abs().amax((1, 2, 3)).max() > 1e-2


def test_classes_draw_apart_and_the_same_seed_draws_the_same(draws):
    augmentation, images = SiameseAugmentation("dsa", (12, 12)), torch.randn(60, 1, 12, 12)
    augmentation.of_classes(images, [2] * 30, range(30))
    assert {group for group, _ in draws} == set(range(6))
    once, draws[:] = draws[:], []
    augmentation.of_classes(images[:20], [1] * 20, range(20))  # other counts of other images
    for (group, params), (again, same) in zip(once[:20], draws, strict=True):
        assert group == again
        for name in params:
            for key in params[name].keys() - set(SHAPE):
                assert torch.equal(params[name][key], same[name][key]), key


@pytest.mark.parametrize("group", GROUPS)
def test_real_and_synthetic_images_of_a_class_see_the_same_given_the_same_seed(only, group):
    augmentation, image = only(group, (12, 20)), torch.randn(1, 3, 12, 20)
    real, synthetic = (
        augmentation.of_classes(image.repeat(sum(counts), 1, 1, 1), counts, [4, 5, 6]).split(counts)
        for counts in ([8, 8, 8], [1, 3, 2])
    )
    for real_images, synthetic_images in zip(real, synthetic, strict=True):
        for other in (*real_images, *synthetic_images):
            torch.testing.assert_close(other, real_images[0], rtol=0, atol=1e-6)
    if group != "flip":  # a coin may fall alike three times
        assert not torch.allclose(real[0][0], real[1][0], atol=1e-3)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("group", GROUPS)
def test_classes_equal_the_reference(only, draws, group, shape):
    augmentation, counts = only(group, shape[1:]), [2, 3, 1]
    images = torch.rand(6, *shape)
    result = augmentation.of_classes(images, counts, [1, 2, 3])
    for part, out, (_, leaves) in zip(images.split(counts), result.split(counts), draws, strict=True):
        np.testing.assert_allclose(
            out.numpy(), expected(group, part, for_all(leaves, len(part))), rtol=0, atol=TOLERANCE[group]
        )


@pytest.mark.parametrize("group", GROUPS)
def test_gradients_reach_the_images_of_every_class(only, group):
    images = torch.randn(6, 3, 12, 12, requires_grad=True)
    result = only(group, (12, 12)).of_classes(images, [3, 1, 2], [1, 2, 3])
    result.square().sum().backward()
    assert images.grad.isfinite().all()
    assert (images.grad.flatten(1).norm(dim=1) > 1).all()


def test_a_seed_of_none_goes_on_with_the_stream():
    augmentation, images = SiameseAugmentation("dsa", (8, 8)), torch.randn(4, 1, 8, 8)
    torch.manual_seed(9)
    result = augmentation.of_classes(images, [4], [None])
    assert torch.equal(result, augmentation.of_classes(images, [4], [9]))
    torch.manual_seed(9)
    several = [augmentation.of_classes(images, [4], [None]) for _ in range(8)]
    assert torch.equal(several[0], result)
    assert any(not torch.equal(other, result) for other in several[1:])


def test_classes_under_none_are_as_they_are():
    images = torch.randn(6, 1, 8, 8, requires_grad=True)
    assert SiameseAugmentation("none", (8, 8)).of_classes(images, [3, 1, 2], [1, 2, 3]) is images


def test_images_of_classes_are_left_alone_and_stay_float32_under_autocast():
    augmentation, images = SiameseAugmentation("dsa", (8, 8)), torch.randn(30, 1, 8, 8)
    before = images.clone()
    plain = augmentation.of_classes(images, [1] * 30, range(30))
    with torch.autocast("cpu", torch.bfloat16):
        result = augmentation.of_classes(images, [1] * 30, range(30))
    assert result.dtype == torch.float32
    assert torch.equal(result, plain)
    assert torch.equal(images, before)


def test_a_kept_draw_is_the_draw_and_leaves_the_same_random_stream():
    images, state = torch.rand(6, 3, 8, 8), torch.get_rng_state()
    for seed in range(12):  # all groups are met
        fresh, used = SiameseAugmentation("dsa", (8, 8)), SiameseAugmentation("dsa", (8, 8))
        used.of_classes(images, [6], [seed])
        torch.manual_seed(99)
        torch.rand(5)
        again, after_kept = used.of_classes(images, [6], [seed]), torch.rand(3)
        expected, after_fresh = fresh.of_classes(images, [6], [seed]), torch.rand(3)
        assert torch.equal(again, expected)
        assert torch.equal(after_kept, after_fresh)
    torch.set_rng_state(state)


def test_kept_draws_are_bounded(monkeypatch):
    monkeypatch.setattr("lightning_distill.augmentation.siamese.KEPT_DRAWS", 4)
    augment, images = SiameseAugmentation("dsa", (8, 8)), torch.rand(2, 1, 8, 8)
    first = augment.of_classes(images, [2], [0])
    for seed in range(20):
        augment.of_classes(images, [2], [seed])
        assert len(augment._drawn) <= 4
    assert torch.equal(augment.of_classes(images, [2], [0]), first)
