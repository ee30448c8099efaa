"""A receiver's images are prepared as the maker's were."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_distill import DataSpec, FolderDataModule, load_set, save_set
from lightning_distill.data.readers import ReadOptions
from lightning_distill.data.readers.base import EIGHT_BIT, describe_bits
from lightning_distill.data.readers.windows import describe, parse_windows
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.merge import merge_sets
from lightning_distill.sets.preparation import PrepareImage, describe_preparation, intensity_ranges

RNG = np.random.default_rng(0)


def spec(channels=1, size=(8, 8), **changes):
    names = ("a", "b")
    return DataSpec("toy", (channels, *size), names, (100.0,) * channels, (50.0,) * channels, **changes)


def unit(scale, channels=1, **changes):
    changes = {"resize": "stretch", **changes}
    return DataSpec("toy", (channels, 8, 8), ("a", "b"), (0.5,) * channels, (0.25,) * channels, 0.0, 1.0, "float16",
                    intensity_scale=scale, **changes)  # fmt: skip


@pytest.mark.parametrize(
    ("window", "ranges"),
    [
        ("lung", [(-1350, 150)]),
        ((40, 80), [(0, 80)]),
        ((0.5, 1e-3), [(0.4995, 0.5005)]),
        ((0, 2e7), [(-1e7, 1e7)]),
        (["lung", (40, 80), "bone"], [(-1350, 150), (0, 80), (-500, 1300)]),
    ],
)
def test_every_scale_of_a_window_is_understood(window, ranges):
    np.testing.assert_allclose(intensity_ranges(unit(describe(parse_windows(window)))), ranges)


def test_scales_of_bit_depths_are_understood():
    assert intensity_ranges(unit(describe_bits(12, -1024.0, 3071.0))) == [(-1024, 3071)]
    assert intensity_ranges(unit("16 bit, 0 to 65535 as 0 to 1")) == [(0, 65535)]
    for text in (EIGHT_BIT, "the window each file names, as 0 to 1", ""):
        assert intensity_ranges(unit(text)) == []


def write_folder(root, save):
    for number in range(12):
        path = root / ("ill" if number % 2 else "well") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        save(path, number)
    return sorted(root.rglob("*.png"))


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("mode", ["grey", "colour", "16 bit", "colour to grey", "grey to colour"])
def test_a_file_becomes_what_the_folder_module_makes_of_it(tmp_path, fit, mode):
    def save(path, number):
        size = (30 + number, 17)
        if mode == "16 bit":
            Image.fromarray(RNG.integers(0, 65536, size).astype(np.uint16)).save(path)
        else:
            Image.fromarray(RNG.integers(0, 256, (*size, 3) if mode.startswith("colour") else size, np.uint8)).save(
                path
            )

    paths = write_folder(tmp_path / "data", save)
    color = {"colour to grey": "grey", "grey to colour": "rgb"}.get(mode, "keep")
    data = FolderDataModule(tmp_path / "data", size=12, fit=fit, color=color, val_fraction=0.34)
    data.setup()
    assert data.spec.resize == fit
    path = save_set(
        tmp_path / "set", LabeledSet(torch.from_numpy(data.splits["train"][0][:2]), torch.tensor([0, 1]), data.spec), {}
    )
    prepare = load_set(path).transform
    real = [data.spec.normalize(torch.from_numpy(np.array(data.splits[split][0]))) for split in ("train", "val")]
    prepared = torch.stack([prepare(Image.open(path)) for path in paths])
    for image in torch.cat(real):
        distance = (prepared - image).abs().amax((1, 2, 3)).min()
        assert distance == 0, "no file was prepared as the module did"


def test_arrays_tensors_and_batches_are_prepared_alike():
    prepare = PrepareImage(spec(3, resize="crop"))
    pixels = RNG.integers(0, 256, (20, 14, 3), np.uint8)
    expected = prepare(Image.fromarray(pixels))
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    assert torch.equal(prepare(pixels), expected)
    assert torch.equal(prepare(tensor), expected)
    assert torch.equal(prepare(torch.stack([tensor, tensor])), torch.stack([expected, expected]))
    assert torch.equal(prepare(pixels.astype(np.int64)), expected)
    assert expected.dtype == torch.float32
    assert torch.equal(pickle.loads(pickle.dumps(prepare))(pixels), expected)


def test_windows_are_applied_to_stored_values():
    scale = describe(parse_windows(["lung", (40, 80)]))
    hounsfield = RNG.integers(-2000, 3000, (8, 8)).astype(np.int16)
    done = PrepareImage(unit(scale, 2))(hounsfield)
    for channel, (low, high) in enumerate([(-1350, 150), (0, 80)]):
        window = np.clip((hounsfield.astype(float) - low) / (high - low), 0, 1)
        np.testing.assert_allclose(done[channel].numpy(), (window - 0.5) / 0.25, atol=1e-5)


def test_an_image_of_the_set_itself_is_only_normalised():
    prepare = PrepareImage(spec(size=(8, 6)))
    pixels = RNG.integers(0, 256, (8, 6), np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = prepare(pixels)
    np.testing.assert_allclose(done[0].numpy(), (pixels.astype(float) - 100) / 50, rtol=1e-6)


@pytest.mark.parametrize("resize", ["", "none"])
def test_a_card_without_a_method_is_named(resize):
    with pytest.warns(UserWarning, match="does not state how images were resized; .* stretched to 8 x 8 pixels"):
        PrepareImage(spec(resize=resize))(np.zeros((5, 9), np.uint8))


@pytest.mark.parametrize(
    ("made_from", "image", "message"),
    [
        (spec(), "scan.png", "cannot prepare str; open the file first"),
        (spec(), np.zeros((8, 8), bool), "cannot prepare pixels of type bool"),
        (spec(), np.zeros(8, np.uint8), r"an array of the shape \(8,\); give"),
        (spec(), np.full((8, 8), 0.5), "float pixels from 0.5 to 0.5, but .* uint8 from 0 to 255; give the stored"),
        (spec(), np.full((8, 8), 4000, np.uint16), "pixels from 4000 to 4000, .* convert the image to that range"),
        (spec(), np.full((8, 8), np.nan), "NaN or infinite pixels; replace them"),
        (spec(), np.zeros((8, 8, 4), np.uint8), "an image of 4 channels, the set has 1"),
        (spec(), Image.new("RGBA", (8, 8)), "pixel format RGBA; convert it with"),
        (unit("16 bit, 0 to 65535 as 0 to 1"), np.zeros((8, 8), np.uint8), "8-bit pixels, but .* 16 bit"),
        (unit("CT window lung, -1350 to 150 HU as 0 to 1"), np.full((8, 8), 0.5), "float pixels from 0.5 .* lung"),
        (unit(describe(parse_windows(["lung", "bone"])), 2), np.zeros((8, 8, 3), np.int16), "a colour image"),
        (unit("the window each file names, as 0 to 1"), np.full((8, 8), 40.0), "pixels from 40 to 40, .* each file"),
    ],
)  # fmt: skip
def test_an_image_on_another_scale_is_refused_in_one_line(made_from, image, message):
    with pytest.raises((TypeError, ValueError), match=message) as error:
        PrepareImage(made_from)(image)
    assert "\n" not in str(error.value)


def test_the_card_states_every_step(tmp_path):
    def save(path, number):
        Image.fromarray(RNG.integers(0, 256, (20, 30), np.uint8)).save(path)

    write_folder(tmp_path / "data", save)
    data = FolderDataModule(tmp_path / "data", size=16, fit="pad", read=ReadOptions(), val_fraction=0.34)
    stated = describe_preparation(data.spec)
    assert stated == (
        "intensity: 8 bit, 0 to 255; grey (ITU-R BT.601); padded with zeros to a square and resized to 16 x 16 pixels "
        "(bilinear, antialiased); (pixel - mean) / std"
    )
    images = torch.from_numpy(np.array(data.splits["train"][0][:2]))
    save_set(tmp_path / "set", LabeledSet(images, torch.tensor([0, 1]), data.spec), {})
    assert load_set(tmp_path / "set").card["preparation"] == stated
    assert "a channel for each window; 8 x 8 pixels" not in describe_preparation(unit("", 2))
    assert "a channel for each window" in describe_preparation(unit(describe(parse_windows(["lung", "bone"])), 2))
    assert "8 x 8 pixels as in the files, not resized" in describe_preparation(spec(resize="none"))
    assert "8 x 8 pixels, how they were resized is not stated" in describe_preparation(spec())


def test_cards_without_the_statement_are_read():
    state = spec().to_dict()
    assert "resize" not in state
    assert DataSpec.from_dict(state).resize == ""
    assert DataSpec.from_dict(spec(resize="pad").to_dict()).resize == "pad"


def test_a_merged_set_states_what_all_sets_state():
    def part(**changes):
        return LabeledSet(torch.zeros(2, 1, 8, 8).byte(), torch.tensor([0, 1]), spec(**changes))

    same = merge_sets([part(resize="crop", intensity_scale=EIGHT_BIT), part(resize="crop", intensity_scale=EIGHT_BIT)])
    assert (same.spec.resize, same.spec.intensity_scale) == ("crop", EIGHT_BIT)
    other = merge_sets([part(resize="crop", intensity_scale=EIGHT_BIT), part(resize="pad")])
    assert (other.spec.resize, other.spec.intensity_scale) == ("", "")
