"""Sets brought to other data, put together, and mixed with real images: against plain loops."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from lightning_distill import DataSpec
from lightning_distill.evaluation import LabeledSet, Protocol, Scores, coreset_sampler
from lightning_distill.evaluation.mixing import (
    balanced_rows,
    mix_real_and_synthetic,
    num_synthetic,
    paired_gain,
    real_counts,
    same_steps,
    summarize,
)
from lightning_distill.sets.adapt import adapt_set, adapted_sampler, resize_set, to_stored_dtype
from lightning_distill.sets.merge import label_probabilities, merge_sets

SITE = DataSpec("site A", (1, 8, 8), ("ill", "well"), (100.0,), (40.0,), task="binary")
FLOATS = replace(SITE, min_value=-1.0, max_value=1.0, mean=(0.1,), std=(0.3,), storage_dtype="float16")


def made(spec=SITE, labels=(0, 0, 1, 1), seed=0, soft=False, lr=None):
    random = torch.Generator().manual_seed(seed)
    pixels = torch.rand(len(labels), *spec.shape, generator=random) * (spec.max_value - spec.min_value) + spec.min_value
    soft_labels = torch.rand(len(labels), spec.num_classes, generator=random).softmax(1) if soft else None
    return LabeledSet(to_stored_dtype(pixels, spec), torch.tensor(labels), spec, soft_labels, lr)


def test_a_set_that_fits_comes_back_as_it_is():
    original = made()
    assert adapt_set(original, replace(SITE, name="site B", mean=(7.0,))) is original


def test_another_size_and_other_classes_are_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r"images are \(1, 8, 8\) but B has \(3, 8, 8\) \(C, H, W\); add --resize"):
        adapt_set(made(), replace(SITE, name="B", shape=(3, 8, 8)))
    with pytest.raises(ValueError, match=r"classes are ill, well; those of B are well, ill; .*--map-classes"):
        adapt_set(made(), replace(SITE, name="B", class_names=("well", "ill")))
    with pytest.raises(ValueError, match="--resize"):
        adapt_set(made(), replace(SITE, shape=(1, 16, 8)), {"ill": "ill", "well": "well"})


def test_classes_are_renamed_and_reordered_with_their_images_and_probabilities():
    original = made(labels=(0, 1, 0, 1, 1), soft=True)
    data = replace(SITE, class_names=("gesund", "krank"), mean=(1.0,))
    fitted = adapt_set(original, data, {"ill": "krank", "well": "gesund"})
    assert fitted.spec.class_names == data.class_names
    assert fitted.spec.mean == SITE.mean
    assert fitted.labels.tolist() == [0, 0, 0, 1, 1]
    for row, old in enumerate((1, 3, 4, 0, 2)):
        assert torch.equal(fitted.pixels[row], original.pixels[old])
        assert torch.equal(fitted.soft_labels[row], original.soft_labels[old].flip(0))


def test_two_classes_become_one_and_an_absent_one_is_named():
    spec = replace(SITE, class_names=("a", "b", "c"))
    original = made(spec, labels=(0, 1, 2), soft=True)
    data = replace(SITE, class_names=("x", "y", "z", "w"))
    with pytest.warns(UserWarning, match="the set has no images of 'y', 'w'"):
        fitted = adapt_set(original, data, {"a": "z", "b": "x", "c": "z"})
    assert fitted.labels.tolist() == [0, 2, 2]
    for row, old in enumerate((1, 0, 2)):
        a, b, c = original.soft_labels[old].tolist()
        assert fitted.soft_labels[row].tolist() == pytest.approx([b, 0, a + c, 0])
    assert fitted.spec.num_classes == 4


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"ill": "ill"}, "--map-classes lacks 'well'"),
        ({"ill": "ill", "well": "ill", "wel": "ill"}, "set has no class 'wel'; it has ill, well; did you mean 'well'"),
        ({"ill": "il", "well": "well"}, "the data has no class 'il'; it has ill, well; did you mean 'ill'"),
        ({}, "'ill', 'well'"),
    ],
)
def test_a_wrong_map_is_refused(mapping, message):
    with pytest.raises(ValueError, match=message):
        adapt_set(made(), SITE, mapping)


@pytest.mark.parametrize("size", [(1, 4, 4), (1, 16, 12), (1, 5, 8)], ids=str)
def test_resizing_is_pillows_antialiased_bilinear(size):
    original = made()
    fitted = adapt_set(original, replace(SITE, shape=size), resize=True)
    assert fitted.pixels.dtype == torch.uint8
    assert fitted.spec.shape == size
    assert (fitted.spec.mean, fitted.spec.std) == (SITE.mean, SITE.std)
    for old, new in zip(original.pixels, fitted.pixels, strict=True):
        expected = np.asarray(Image.fromarray(old[0].numpy()).resize(size[:0:-1], Image.Resampling.BILINEAR))
        assert np.abs(new[0].numpy().astype(int) - expected.astype(int)).max() <= 1


def test_float_pixels_stay_float_and_in_range():
    fitted = resize_set(made(FLOATS), (1, 3, 3))
    assert fitted.pixels.dtype == torch.float16
    assert fitted.pixels.min() >= -1
    assert fitted.pixels.max() <= 1
    assert fitted.pixels.float().std() < made(FLOATS).pixels.float().std()


def test_shipped_pixels_are_rounded_and_clipped():
    pixels = torch.tensor([1.4, 1.6, -3.0, 300.0]).view(1, 1, 2, 2)
    assert to_stored_dtype(pixels, SITE).flatten().tolist() == [1, 2, 0, 255]
    assert to_stored_dtype(pixels / 100, FLOATS).flatten().tolist() == pytest.approx(
        [0.014, 0.016, -0.03, 1.0], rel=1e-3
    )
    assert to_stored_dtype(pixels.double() * 1e9, replace(FLOATS, max_value=1e9)).isfinite().all()


def test_grey_becomes_colour_and_back():
    original = made()
    colour = adapt_set(original, replace(SITE, shape=(3, 8, 8)), resize=True)
    assert colour.spec.mean == SITE.mean * 3
    assert colour.spec.std == SITE.std * 3
    for channel in range(3):
        assert torch.equal(colour.pixels[:, channel], original.pixels[:, 0])
    back = resize_set(colour, (1, 8, 8))
    assert torch.equal(back.pixels, original.pixels)
    assert back.spec.mean == pytest.approx(SITE.mean)
    spec = replace(SITE, shape=(3, 8, 8), mean=(10.0, 20.0, 30.0), std=(1.0, 2.0, 3.0))
    grey = resize_set(coloured := made(spec), (1, 8, 8))
    assert grey.spec.mean == pytest.approx((0.299 * 10 + 0.587 * 20 + 0.114 * 30,))
    expected = Image.fromarray(coloured.pixels[0].permute(1, 2, 0).numpy()).convert("L")
    assert np.abs(np.asarray(expected).astype(int) - grey.pixels[0, 0].numpy().astype(int)).max() <= 1


def test_real_images_of_one_site_serve_students_of_another(make_data):
    data = make_data(2)
    sampler = coreset_sampler("random", data.train_arrays(), [2, 3], data.spec, 0)
    other_site = replace(
        data.spec, name="B", shape=(3, 4, 4), class_names=("ill", "well"), mean=(0.0,) * 3, std=(1.0,) * 3
    )
    fitted = adapted_sampler(sampler, other_site, {"0": "well", "1": "ill"}, resize=True)
    for student in (0, 1):
        expected = adapt_set(sampler(student), other_site, {"0": "well", "1": "ill"}, resize=True)
        assert torch.equal(fitted(student).pixels, expected.pixels)
    assert fitted(0).labels.tolist() == [0, 0, 0, 1, 1]
    assert fitted(0).spec.mean == data.spec.mean * 3
    assert not torch.equal(fitted(0).pixels, fitted(1).pixels)


def test_other_channels_and_scales_are_refused():
    with pytest.raises(ValueError, match="the set has 1 channels, the data 4; only 1 and 3"):
        resize_set(made(), (4, 8, 8))
    with pytest.raises(ValueError, match="uint8 from 0 to 255, those of B float16 from -1 to 1; rescale"):
        adapt_set(made(), replace(FLOATS, name="B"))
    with pytest.warns(UserWarning, match="same units"):
        adapt_set(made(FLOATS), replace(FLOATS, max_value=4000.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        adapt_set(made(FLOATS), replace(FLOATS, max_value=1.5))


def test_joined_sets_keep_every_image_beside_its_label():
    a, b = made(labels=(0, 0, 1)), made(labels=(0, 1, 1, 1), seed=1)
    both = merge_sets([a, b])
    assert both.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    expected = torch.cat([a.pixels[:2], b.pixels[:1], a.pixels[2:], b.pixels[1:]])
    assert torch.equal(both.pixels, expected)
    assert both.pixels.dtype == torch.uint8
    assert both.spec == SITE
    assert (both.soft_labels, both.lr) == (None, None)


def test_joined_statistics_are_those_of_the_data_in_the_shares_of_the_images():
    random = np.random.default_rng(0)
    parts, shown = [], []
    for number, (images, mean, std) in enumerate(((3, 100.0, 20.0), (9, 60.0, 35.0))):
        values = random.normal(mean, std, 1000 * images)  # as many pixels for each image
        spec = replace(SITE, name=f"site {number}", mean=(float(values.mean()),), std=(float(values.std()),))
        parts.append(made(spec, labels=(0,) * images))
        shown.append(values)
    both = merge_sets(parts).spec
    pooled = np.concatenate(shown)
    assert both.mean == pytest.approx((pooled.mean(),))
    assert both.std == pytest.approx((pooled.std(),))
    assert both.name == "site 0 + site 1"


def test_joined_ranges_and_augmentations():
    a = replace(FLOATS, augmentation="dsa", license="CC0")
    b = replace(FLOATS, min_value=-3.0, max_value=0.5, augmentation="dsa_noflip", license="CC BY")
    both = merge_sets([made(a), made(b)]).spec
    assert (both.min_value, both.max_value, both.augmentation, both.license) == (-3.0, 1.0, "dsa_noflip", "CC0 + CC BY")


def test_labels_become_certain_beside_learned_probabilities():
    a, b = made(labels=(0, 1)), made(labels=(0, 1), seed=1, soft=True)
    both = merge_sets([a, b])
    assert both.soft_labels[0].tolist() == [1, 0]
    assert both.soft_labels[2].tolist() == [0, 1]
    assert torch.equal(both.soft_labels[[1, 3]], b.soft_labels)
    assert torch.equal(label_probabilities(b), b.soft_labels)


def test_learned_rates_must_agree_or_be_given():
    a, b = made(lr=0.02), made(lr=None)
    assert merge_sets([a, a]).lr == 0.02
    with pytest.raises(ValueError, match=r"rates of the sets differ \(0.02, none\); set one, such as --lr"):
        merge_sets([a, b])
    assert merge_sets([a, b], lr=0.5).lr == 0.5
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="the learning rate must be above 0"):
            merge_sets([a, b], lr=wrong)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (replace(SITE, shape=(1, 4, 4)), r"images \(C, H, W\): \(1, 8, 8\) in set 1, \(1, 4, 4\) in set 2"),
        (replace(SITE, class_names=("well", "ill")), "classes: ill, well in set 1, well, ill in set 2"),
        (replace(SITE, storage_dtype="float16"), "storage dtype: uint8 in set 1, float16 in set 2"),
    ],
)
def test_sets_that_do_not_belong_together_are_refused(other, message):
    with pytest.raises(ValueError, match=message):
        merge_sets([made(), made(other)])


def test_images_of_the_set_come_as_near_to_the_ratio_as_whole_images_can():
    for real in (1, 7, 20, 500):
        assert num_synthetic(real, 0) == 0
        for ratio in (0.01, 0.1, 0.33, 1, 10):
            count = num_synthetic(real, ratio)
            assert abs(count - ratio * real) == min(abs(n - ratio * real) for n in range(1, 11 * real + 2))
    for wrong in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="0 or more"):
            num_synthetic(20, wrong)


@pytest.mark.parametrize("count", [1, 2, 5, 9, 12, 13, 30])
def test_a_part_of_a_set_is_balanced_and_the_whole_comes_first(count):
    labels = np.array([0] * 4 + [1] * 4 + [2] * 4)
    seen = set()
    for seed in range(20):
        rows = balanced_rows(labels, count, seed)
        times = np.bincount(rows, minlength=12)
        of_class = np.bincount(labels[rows], minlength=3)
        assert len(rows) == count
        assert times.max() - times.min() <= 1
        assert of_class.max() - of_class.min() <= 1
        assert rows.tolist() == balanced_rows(labels, count, seed).tolist()
        seen |= set(rows[:1].tolist()) if count == 1 else set()
    assert count > 1 or len({labels[row] for row in seen}) == 3  # no class is always the first


def test_a_part_of_an_unequal_set_takes_what_classes_have():
    labels = np.array([0, 1, 1, 1, 1, 3])  # class 2 is absent
    rows = balanced_rows(labels, 5, 0)
    assert np.bincount(labels[rows], minlength=4).tolist() == [1, 3, 0, 1]


def test_real_images_are_counted_by_class_and_refused_where_there_are_too_few():
    labels = np.array([0] * 30 + [1] * 10)
    spec = SITE
    assert real_counts(labels, 20, "balanced", spec) == [10, 10]
    assert real_counts(labels, 20, "natural", spec) == [15, 5]
    assert real_counts(labels, 40, "natural", spec) == [30, 10]
    with pytest.raises(ValueError, match="real=41; site A has 40 training images"):
        real_counts(labels, 41, "natural", spec)
    with pytest.raises(ValueError, match=r"real=22: 11 images of class 'well' are needed, it has 10; .*natural"):
        real_counts(labels, 22, "balanced", spec)
    with pytest.raises(ValueError, match="every class needs at least 1"):
        real_counts(labels, 1, "balanced", spec)


def test_a_student_has_the_same_real_images_at_every_ratio(make_data):
    data = make_data()
    spec, real = data.spec, data.train_arrays()
    original = made(replace(spec, mean=(1.0,), std=(2.0,)), labels=(0, 0, 1, 1), soft=True, lr=3.0)
    drawn = {w: mix_real_and_synthetic(real, [4, 4], original, w, spec, 0) for w in (0, 0.5, 1)}
    alone = drawn[0](0)
    assert alone.soft_labels is None
    assert not torch.equal(alone.pixels, drawn[0](1).pixels)
    for w, count in ((0.5, 4), (1, 8)):
        mixture = drawn[w](0)
        assert (len(mixture.labels), mixture.spec, mixture.lr) == (8 + count, spec, None)
        for image, label in zip(alone.pixels, alone.labels, strict=True):
            matching = (mixture.pixels == image).flatten(1).all(1)
            assert mixture.soft_labels[matching].tolist() == [[1 - label, label]]
        for image, soft_label in zip(original.pixels, original.soft_labels, strict=True):
            matching = (mixture.pixels == image).flatten(1).all(1)
            assert int(matching.sum()) == count // 4
            assert torch.equal(mixture.soft_labels[matching], soft_label.repeat(count // 4, 1))


@pytest.mark.parametrize(("real", "images"), [(20, 220), (500, 500), (500, 550), (500, 5500), (3000, 3300)])
def test_mixtures_take_as_many_steps_as_the_real_images_alone(real, images):
    protocol = Protocol("p", 300)
    steps = {n: (same_steps(protocol, real, n).epochs + 1) * -(-n // 256) for n in (real, images)}
    assert same_steps(protocol, real, real) == protocol
    assert abs(steps[images] - steps[real]) <= -(-images // 256) / 2


def test_gain_is_paired_over_students():
    with_set = Scores([{"acc": v} for v in (0.71, 0.82, 0.64)], [0, 1, 2], ["a"] * 3)
    without = Scores([{"acc": v} for v in (0.70, 0.80, 0.65)], [0, 1, 2], ["a"] * 3)
    change = paired_gain(with_set, without)
    expected = stats.ttest_rel(with_set.values("acc"), without.values("acc")).confidence_interval(0.95)
    assert change.mean == pytest.approx(0.02 / 3)
    assert (change.low, change.high) == pytest.approx((expected.low, expected.high))
    assert "by +0.7 points at ratio 0.1 (paired over 3 students, 95 % interval -3.1 to 4.5): too close" in summarize(
        change, 500, 20, 0.1
    )
    better, worse = ([{"acc": value + start} for value in (0.1, 0.2, 0.3)] for start in (0.4, 0.0))
    for count, verdict in ((3, "it harms"), (2, "(paired over 2 students, no interval): too few students to tell")):
        seeds, names = list(range(count)), ["a"] * count
        change = paired_gain(Scores(worse[:count], seeds, names), Scores(better[:count], seeds, names))
        assert summarize(change, 500, 20, 1).endswith(verdict)
    with pytest.raises(ValueError, match="only equal seeds can be paired"):
        paired_gain(with_set, replace(without, seeds=[1, 2, 3]))
    with pytest.raises(ValueError, match="an interval needs at least 2"):
        paired_gain(Scores([{"acc": 1.0}], [0], ["a"]), Scores([{"acc": 1.0}], [0], ["a"]))
