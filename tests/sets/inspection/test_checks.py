"""Each check finds the defect it is for, names the image, and is silent on clean sets."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lightning_distill import DataSpec
from lightning_distill.sets.inspection.check import CERTAIN, checked_images, listed
from lightning_distill.sets.inspection.contradictions import check_contradictions, near_pairs
from lightning_distill.sets.inspection.labels import check_labels
from lightning_distill.sets.inspection.outliers import check_outliers, isolated_pixels
from lightning_distill.sets.inspection.registry import CHECKS
from lightning_distill.sets.inspection.triggers import check_triggers, scan, sensitivity, threshold
from lightning_distill.sets.labeled_set import LabeledSet


def clean(classes=3, per_class=8, size=16, channels=1, seed=0, **spec_options):
    """Smooth images, each with its own brightness and pattern."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.rand(classes * per_class, channels, 5, 5, generator=random) * 160 + 40
    pixels = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic", align_corners=False)
    pixels = (pixels + 4 * torch.randn(pixels.shape, generator=random)).clamp(1, 254).round().byte()
    spec = DataSpec(
        "toy",
        (channels, size, size),
        tuple("abcdefgh"[:classes]),
        (100.0,) * channels,
        (50.0,) * channels,
        **spec_options,
    )
    return LabeledSet(pixels, torch.arange(classes).repeat_interleave(per_class), spec)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_clean_sets_have_no_findings(channels, seed):
    images = checked_images(clean(channels=channels, seed=seed))
    for name, check in CHECKS.items():
        result = check(images)
        assert not result.findings, (name, result.findings)
        assert result.note


def test_the_same_image_under_two_classes_is_certain():
    data = clean()
    data.pixels[20] = data.pixels[3]
    (finding,) = check_contradictions(checked_images(data)).findings
    assert finding.text == "images 3 (a) and 20 (c) are the same image"
    assert (finding.certainty, finding.images) == (CERTAIN, (3, 20))


def test_nearly_the_same_image_is_found_and_the_same_class_is_none_of_its_business():
    data = clean()
    noise = torch.randint(-4, 5, data.pixels[3].shape, generator=torch.Generator().manual_seed(1))
    data.pixels[20] = (data.pixels[3].int() + noise).clamp(0, 255).byte()
    data.pixels[4] = data.pixels[3]  # a copy within a class
    findings = check_contradictions(checked_images(data)).findings
    assert {finding.images for finding in findings} == {(3, 20), (4, 20)}
    assert all("differ by" in finding.text and finding.certainty != CERTAIN for finding in findings)


@pytest.mark.parametrize("size", [(16, 16), (40, 33), (64, 96)])
def test_near_pairs_are_those_of_all_comparisons(size):
    random = torch.Generator().manual_seed(0)
    pixels = torch.rand(1, 1, *size, generator=random) * 0.5 + torch.rand(30, 1, *size, generator=random) * 0.06
    groups = torch.arange(30) % 3
    distances = {
        (i, j): float((pixels[i] - pixels[j]).square().mean().sqrt())
        for i in range(30) for j in range(i + 1, 30) if groups[i] != groups[j]
    }  # fmt: skip
    limit = sorted(distances.values())[40]
    pairs = near_pairs(pixels, groups, limit)
    assert {pair[:2] for pair in pairs} == {pair for pair, distance in distances.items() if distance <= limit}
    assert [pair[2] for pair in pairs] == sorted(pair[2] for pair in pairs)


def test_many_pairs_are_counted_in_one_line():
    data = clean()
    data.pixels[:] = data.pixels[0]
    findings = check_contradictions(checked_images(data)).findings
    assert len(findings) == 11
    assert findings[-1].text == "182 more pairs of this kind"  # 3 * 64 - 10


def test_soft_labels_of_another_class_are_counted():
    soft = torch.nn.functional.one_hot(torch.arange(3).repeat_interleave(8), 3).float() * 0.8 + 0.2 / 3
    data = replace(clean(), soft_labels=soft)
    assert not check_labels(checked_images(data)).findings
    soft[5] = torch.tensor([0.2, 0.7, 0.1])
    (finding,) = check_labels(checked_images(data)).findings
    assert finding.text == "1 of 24 images have their largest soft label in another class than the label: 5"
    assert finding.images == (5,)


def test_multi_label_rows_and_their_soft_labels_are_compared():
    data = clean(2, task="multi-label", combinations=((0, 0), (1, 1)))
    soft = torch.tensor([[0.1, 0.1], [0.9, 0.9]]).repeat_interleave(8, 0)
    soft[9] = torch.tensor([0.9, 0.4])
    (finding,) = check_labels(checked_images(replace(data, soft_labels=soft))).findings
    assert "1 of 16 images have a label on the other side of 0.5 than the 0/1 row: 9" in finding.text


def test_a_class_without_images_is_named():
    data = clean()
    empty = replace(data, spec=replace(data.spec, class_names=("a", "b", "c", "rare")))
    (finding,) = check_labels(checked_images(empty)).findings
    assert finding.text == "no image of rare; networks are not trained on it"


@pytest.mark.parametrize(
    ("defect", "text"),
    [
        (lambda image: image.fill_(7), "one constant value"),
        (lambda image: image.mul_(0).add_(250).sub_(torch.arange(16).byte()), "far brighter or darker than the rest"),
        (lambda image: image[:, :12].fill_(255), "far more saturated pixels than the rest"),
        (
            lambda image: image[:, 8, 8].fill_(255 if image[0, 7:10, 7:10].float().median() < 128 else 0),
            "single pixels",
        ),
    ],
)
def test_outliers_are_named(defect, text):
    data = clean()
    defect(data.pixels[13])
    findings = check_outliers(checked_images(data)).findings
    matching = [finding for finding in findings if text in finding.text]
    assert matching, findings
    assert matching[0].images == (13,)
    assert matching[0].text.startswith("1 of 24 images")


def test_float_pixels_outside_of_their_range_are_named():
    data = clean()
    spec = replace(data.spec, storage_dtype="float16", min_value=0.0, max_value=1.0)
    pixels = (data.pixels.float() / 255).half()
    pixels[2, 0, 3, 3] = 40.0
    findings = check_outliers(checked_images(replace(data, spec=spec, pixels=pixels))).findings
    assert "1 of 24 images have pixels outside of the range that the card states: 2" in [f.text for f in findings]


def test_isolated_pixels_are_differences_from_the_median_around():
    pixels = torch.zeros(2, 1, 7, 7)
    pixels[1, 0, 3, 3] = 0.7
    assert isolated_pixels(pixels).tolist() == [0, pytest.approx(0.7)]


@pytest.mark.parametrize("place", [(0, 0), (13, 13), (5, 8)])
@pytest.mark.parametrize("kind", ["square", "noise", "noisy"])
def test_a_planted_trigger_is_found_where_it_is(place, kind):
    data = clean(seed=3)
    row, column = place
    own = data.labels == 1
    patch = torch.full((3, 3), 255.0)
    if kind != "square":
        patch = torch.rand(3, 3, generator=torch.Generator().manual_seed(5)) * 255
    patches = patch.expand(8, 1, 3, 3)
    if kind == "noisy":
        patches = patches + 6 * torch.randn(8, 1, 3, 3, generator=torch.Generator().manual_seed(6))
    data.pixels[own, :, row : row + 3, column : column + 3] = patches.clamp(0, 255).byte()
    findings = check_triggers(checked_images(data)).findings
    assert len(findings) == 1
    assert findings[0].text.startswith("class b: a ")
    if kind == "square":
        assert f"3 x 3 patch at row {row}, column {column}" in findings[0].text
    assert findings[0].images == tuple(range(8, 16))


def test_a_patch_in_every_class_and_a_constant_background_are_no_triggers():
    data = clean()
    data.pixels[..., :3, :3] = 255  # the logo of a device, in all classes
    data.pixels[:8, :, 8:, :] = 0  # images of one class have a large dark area
    assert not check_triggers(checked_images(data)).findings


def test_a_trigger_in_stored_images_with_sub_images_is_found():
    data = replace(clean(size=32), formation=2)
    data.pixels[data.labels == 2, :, 20:24, 20:24] = 255
    findings = check_triggers(checked_images(data)).findings
    assert any("class c" in finding.text and "of the stored images" in finding.text for finding in findings)


def test_too_few_images_are_said_to_be_too_few():
    result = check_triggers(checked_images(clean(per_class=2)))
    assert not result.findings
    assert result.note == "not possible: it takes two classes and 4 images in a class"
    assert "not possible" in check_triggers(checked_images(clean(classes=1))).note
    data = clean()
    uneven = replace(data, pixels=data.pixels[:18], labels=data.labels[:18])
    assert "2 of 3 classes scanned" in check_triggers(checked_images(uneven)).note


def test_sensitivity_is_that_of_the_whole_scan():
    """The patch that is planted in a crop would be found in the whole image, too."""
    images = checked_images(clean(size=12))
    found, trials = sensitivity(images.pixels, images.groups, 3, "square", trials=30)
    assert trials == 30
    generator, whole = torch.Generator().manual_seed(0), 0
    for trial in range(30):
        row, column = (int(torch.randint(0, 10, (1,), generator=generator)) for _ in range(2))
        planted = images.pixels.clone()
        planted[images.groups == trial % 3, :, row : row + 3, column : column + 3] = 1.0
        whole += scan(planted, images.groups, 3)[trial % 3].score >= threshold((1, 12, 12))
    assert found <= whole
    assert found >= 25
    assert sensitivity(images.pixels[..., :5, :5], images.groups, 3, "square") == (0, 0)


def test_lists_of_numbers_are_cut():
    assert listed(range(3)) == "0, 1, 2"
    assert listed(range(20)) == "0, 1, 2, 3, 4, 5, 6, 7 and 12 more"
