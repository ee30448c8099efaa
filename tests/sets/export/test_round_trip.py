"""Every format gives back every kind of set: pixels up to the stated rounding, labels, soft labels, rate and card."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_distill import export_set, load_set
from lightning_distill.sets.export.registry import FORMATS
from lightning_distill.sets.storage import read_set

KINDS = list(itertools.product((1, 3), ("uint8", "float16"), (False, True), (1, 3), (False, True)))


@pytest.mark.parametrize("decode", [True, False], ids=["decoded", "stored"])
@pytest.mark.parametrize("to", FORMATS)
def test_a_set_comes_back(tmp_path, make_set, to, decode):
    for number, (channels, dtype, multi_label, formation, soft) in enumerate(KINDS):
        source = make_set(channels, dtype, multi_label, formation, soft, name=f"set{number}")
        out = export_set(source, tmp_path / f"out{number}", to=to, decode=decode)
        (data, card), (back, back_card) = read_set(source), read_set(out)
        (images, targets), (back_images, back_targets) = load_set(source).tensors, load_set(out).tensors
        assert torch.equal(targets, back_targets)
        assert back.lr == data.lr
        assert back.spec == data.spec
        assert back.pixels.dtype == data.pixels.dtype
        assert back.formation == (1 if decode else formation)
        error = 50 * float((images - back_images).abs().max())  # in pixel units: the std is 50
        if (dtype == "uint8" or to == "npz") and (formation == 1 or not decode):
            assert error == 0
            assert back_card == card  # digest and signature of the set hold
            continue
        # beside rounding: float16 has steps of 1/1024 of a value, and 8 bits of -1 to 1 have steps of 2/255
        assert error <= {"uint8": 0.5, "float16": 0.0005 if to == "npz" else 1 / 255 + 0.0005}[dtype] + 1e-4
        assert back_card["exported"]["from_sha256"] == card["sha256"]
        assert back_card["sha256"] != card["sha256"]
        assert ("sub-images were decoded" in back_card["exported"]["pixels"]) == (decode and formation > 1)
        assert {key: back_card[key] for key in ("method", "warning", "data")} == {
            key: card[key] for key in ("method", "warning", "data")
        }


@pytest.mark.parametrize("to", ["imagefolder", "hf"])
def test_float_pixels_are_read_back_as_the_readme_says(tmp_path, make_set, to):
    source = make_set(3, "float16")
    out = export_set(source, tmp_path / "out", to=to)
    files = sorted(out.rglob("*.png"), key=lambda path: path.name)
    codes = np.stack([np.asarray(Image.open(path)) for path in files]).transpose(0, 3, 1, 2)
    pixels = read_set(source)[0].pixels.numpy().astype(np.float64)
    np.testing.assert_array_equal(codes, np.rint((pixels + 1) / 2 * 255))
    back = read_set(out)[0].pixels.numpy()
    np.testing.assert_array_equal(back, (-1 + codes / 255 * 2).astype(np.float16))


def test_an_export_of_an_export_is_the_same_set(tmp_path, make_set):
    first = export_set(make_set(soft=True), tmp_path / "a", to="hf")
    second = export_set(first, tmp_path / "b", to="npz")
    third = export_set(second, tmp_path / "c", to="imagefolder")
    assert read_set(third)[1] == read_set(first)[1] == read_set(second / "set.npz")[1]


def test_images_that_png_does_not_hold_are_refused_by_name(tmp_path, make_set):
    source = make_set(4)
    with pytest.raises(ValueError, match="--to hf holds images of 1 or 3 channels, the set has 4; use --to npz"):
        export_set(source, tmp_path / "out", to="hf")
    assert not (tmp_path / "out").exists()
    assert torch.equal(*(read_set(path)[0].pixels for path in (source, export_set(source, tmp_path / "o", to="npz"))))


def test_a_set_of_version_1_keeps_its_card(tmp_path):
    from conftest import TESTS

    source = TESTS / "sets" / "version_0_1_0" / "digits_mtt"
    for to in FORMATS:
        out = export_set(source, tmp_path / to, to=to)
        assert read_set(out)[1] == read_set(source)[1]
        assert torch.equal(read_set(out)[0].pixels, read_set(source)[0].pixels)


@pytest.mark.parametrize("to", FORMATS)
def test_the_same_set_makes_the_same_files(tmp_path, make_set, to):
    source = make_set(3, soft=True)
    first, second = (export_set(source, tmp_path / name, to=to) for name in "ab")
    files = [path.relative_to(first) for path in first.rglob("*") if path.is_file()]
    assert files
    for file in files:
        assert (first / file).read_bytes() == (second / file).read_bytes()


@pytest.mark.parametrize("to", FORMATS)
def test_no_file_holds_a_path_or_a_pickle(tmp_path, make_set, to):
    out = export_set(make_set(soft=True), tmp_path / "out", to=to)
    for path in out.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert str(tmp_path).encode() not in content, path
            assert b"\x80\x04\x95" not in content or path.suffix == ".png", path
