"""Presets: their words, and what they are chosen by."""

from __future__ import annotations

import doctest

import pytest

from lightning_distill.augmentation import presets
from lightning_distill.augmentation.presets import MODALITIES, PRESETS, describe, valid_for
from lightning_distill.augmentation.siamese import SiameseAugmentation


def test_every_modality_has_a_preset_that_can_be_made():
    assert set(MODALITIES.values()) <= set(PRESETS)
    for preset in PRESETS:
        assert SiameseAugmentation(preset, (8, 8)).preset == preset


def test_images_with_sides_are_not_mirrored_and_grey_channels_not_mixed():
    mirrored = {modality for modality, preset in MODALITIES.items() if "flip" in PRESETS[preset]}
    either = {"breast_ultrasound", "oct", "fundus", "dermatoscopy", "histology", "blood_smear", "fluorescence",
              "electron_microscopy"}  # fmt: skip
    assert mirrored == either
    assert {modality for modality in MODALITIES if "color" not in PRESETS[valid_for(modality)]} == {"ct", "mr"}


def test_presets_are_told_in_words():
    assert doctest.testmod(presets).failed == 0
    assert "saturation" in describe("dsa", 3)
    assert "saturation" not in describe("dsa", 1) + describe("dsa_grey_noflip", 3)
    assert describe("none", 3) == "none"
    assert describe("of a later version", 3) == "of a later version"
    for preset, groups in PRESETS.items():
        assert len(describe(preset, 3).split(";")) == max(1, len(groups))


def test_an_unknown_modality_is_refused_with_the_known_ones():
    with pytest.raises(
        ValueError, match=r"unknown modality='fundis' \(did you mean 'fundus'\?\); use one of chest_xray, "
    ):
        valid_for("fundis")
    with pytest.raises(ValueError, match=r"unknown modality='zzz'; use one of chest_xray, .*, or augmentation="):
        valid_for("zzz")
