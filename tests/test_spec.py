"""Tests of ``DataSpec``: normalization, balance groups, conversion to plain data."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from lightning_distill import DataSpec

GREY = DataSpec("grey", (1, 4, 5), ("a", "b"), (120.0,), (60.0,))
RGB = DataSpec("rgb", (3, 4, 5), ("a", "b", "c"), (10.0, 100.0, 200.0), (1.0, 50.0, 70.0), task="ordinal")
FLOAT = DataSpec("ct", (2, 4, 5), ("a", "b"), (-300.0, 0.25), (400.0, 0.1), -1024.0, 3071.0, "float16", license="CC0")
SPECS = pytest.mark.parametrize("spec", [GREY, RGB, FLOAT], ids=lambda spec: spec.name)


@SPECS
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32, torch.float64])
def test_normalising_subtracts_the_mean_and_divides_by_the_deviation_of_each_channel(spec, dtype):
    pixels = (torch.rand(6, *spec.shape) * 200).to(dtype)
    result = spec.normalize(pixels)
    assert result.dtype == torch.float32
    for c, (mean, std) in enumerate(zip(spec.mean, spec.std, strict=True)):
        expected = (pixels[:, c].double().numpy() - mean) / std
        np.testing.assert_allclose(result[:, c].numpy(), expected, rtol=1e-5, atol=1e-5)


@SPECS
def test_denormalising_is_the_way_back_and_does_not_clip(spec):
    images = torch.randn(6, *spec.shape) * 10
    pixels = spec.denormalize(images)
    assert pixels.dtype == torch.float32
    torch.testing.assert_close(spec.normalize(pixels), images, rtol=1e-4, atol=1e-2)
    assert spec.denormalize(torch.full((1, *spec.shape), 1e4)).max() > spec.max_value


def test_every_grey_level_comes_back_exactly():
    levels = torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1)
    assert torch.equal(GREY.denormalize(GREY.normalize(levels)).round().to(torch.uint8), levels)


@SPECS
def test_it_travels_through_json(spec):
    state = json.loads(json.dumps(spec.to_dict()))
    assert DataSpec.from_dict(state) == spec
    assert isinstance(DataSpec.from_dict(state).class_names, tuple)


def test_it_travels_through_a_weights_only_checkpoint(tmp_path):
    torch.save({"spec": RGB.to_dict()}, tmp_path / "x.ckpt")
    assert DataSpec.from_dict(torch.load(tmp_path / "x.ckpt", weights_only=True)["spec"]) == RGB


def test_it_has_as_many_classes_as_names_and_cannot_be_changed():
    assert (GREY.num_classes, RGB.num_classes) == (2, 3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        GREY.name = "other"


def test_unknown_fields_are_refused():
    with pytest.raises(TypeError, match="colour"):
        DataSpec.from_dict({**GREY.to_dict(), "colour": "blue"})
