"""DICOM: each value against numpy written out here, on the files that pydicom brings along."""

from __future__ import annotations

import logging
import traceback
import tracemalloc
import warnings
from importlib import import_module
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian

from lightning_distill.data.readers import WINDOWS, InvalidReadOption, ReadOptions, UnreadableFile, read_image
from lightning_distill.data.readers.dicom import TAGS, patient_of


def dataset(name):
    path = get_testdata_file(name, download=False)
    assert path, name
    return pydicom.dcmread(path)


def read(name, **options):
    return read_image(get_testdata_file(name, download=False), ReadOptions(**options))


@pytest.fixture
def edited(tmp_path):
    """A copy of a file with other attributes, ``None`` deletes one; gives its path."""

    def edit(name="CT_small.dcm", to="edited.dcm", **changes):
        ds = dataset(name)
        for keyword, value in changes.items():
            if value is None:
                del ds[keyword]
            else:
                setattr(ds, keyword, value)
        ds.save_as(tmp_path / to)
        return tmp_path / to

    return edit


def raw(name, dtype):
    ds = dataset(name)
    return np.frombuffer(ds.PixelData, dtype)[: ds.Rows * ds.Columns].reshape(ds.Rows, ds.Columns).astype(np.float64)


def item(**attributes):
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def test_without_a_window_the_range_is_what_the_stored_type_can_become():
    picture = read("CT_small.dcm")
    hounsfield = raw("CT_small.dcm", "<i2") * 1 - 1024
    expected = (hounsfield - (-32768 - 1024)) / 65535
    assert picture.pixels.shape == (1, 128, 128)
    assert picture.pixels.dtype == np.float32
    np.testing.assert_allclose(picture.pixels[0], expected, atol=1e-7)
    assert (picture.scale, picture.kind) == ("16 bit, -33792 to 31743 as 0 to 1", "grey")


def test_twelve_bits_are_scaled_by_twelve_bits():
    picture = read("examples_overlay.dcm")
    np.testing.assert_allclose(picture.pixels[0], raw("examples_overlay.dcm", "<u2") / 4095, atol=1e-7)
    assert picture.scale == "12 bit, 0 to 4095 as 0 to 1"


@pytest.mark.parametrize(
    ("window", "low", "high"),
    [("lung", -1350, 150), ("abdomen", -150, 250), ("brain", 0, 80), ("subdural", -20, 180), ("bone", -500, 1300)],
)
def test_a_named_window_is_in_hounsfield_units(window, low, high):
    hounsfield = raw("CT_small.dcm", "<i2") - 1024
    picture = read("CT_small.dcm", window=window)
    np.testing.assert_allclose(picture.pixels[0], np.clip((hounsfield - low) / (high - low), 0, 1), atol=1e-7)
    assert picture.scale == f"CT window {window}, {low} to {high} HU as 0 to 1"
    assert set(WINDOWS) == {"lung", "abdomen", "brain", "subdural", "bone"}


def test_several_windows_are_channels():
    picture = read("CT_small.dcm", window=["lung", (0, 100)])
    hounsfield = raw("CT_small.dcm", "<i2") - 1024
    assert picture.pixels.shape == (1, 128, 128, 2)
    np.testing.assert_allclose(picture.pixels[0, ..., 0], np.clip((hounsfield + 1350) / 1500, 0, 1), atol=1e-7)
    np.testing.assert_allclose(picture.pixels[0, ..., 1], np.clip((hounsfield + 50) / 100, 0, 1), atol=1e-7)
    assert picture.scale == "windows lung, -1350 to 150 HU; -50 to 50; each a channel, as 0 to 1"


def test_a_dimmer_picture_stays_dimmer(edited):
    stored = dataset("MR_small.dcm").pixel_array // 2
    path = edited("MR_small.dcm", PixelData=stored.astype("<i2").tobytes())
    for window in (None, (1500, 3000)):
        bright, dim = read("MR_small.dcm", window=window).pixels, read_image(path, ReadOptions(window=window)).pixels
        zero = 32768 / 65535 if window is None else 0.0
        np.testing.assert_allclose(dim - zero, (bright - zero) / 2, atol=1e-3)


@pytest.mark.parametrize(
    "name",
    ["MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_bigendian.dcm",
     "MR_small_implicit.dcm", "MR_small_expb.dcm", "MR_small_padded.dcm"],
)  # fmt: skip
def test_compressed_and_reordered_files_hold_the_same_pixels(name):
    expected = np.clip((raw("MR_small.dcm", "<i2") - 0) / 2000, 0, 1)
    np.testing.assert_allclose(read(name, window=(1000, 2000)).pixels[0], expected, atol=1e-7)


@pytest.mark.parametrize("name", ["JPEG2000.dcm", "JPGExtended.dcm", "J2K_pixelrep_mismatch.dcm", "693_J2KI.dcm"])
def test_lossy_files_are_decoded_to_their_range(name):
    picture = read(name)
    ds = dataset(name)
    slope, intercept = float(ds.get("RescaleSlope", 1)), float(ds.get("RescaleIntercept", 0))
    low, high = ((-(2.0 ** (ds.BitsStored - 1)), 2.0 ** (ds.BitsStored - 1) - 1) if ds.PixelRepresentation
                 else (0.0, 2.0**ds.BitsStored - 1))  # fmt: skip
    expected = (ds.pixel_array * slope + intercept - (low * slope + intercept)) / (slope * (high - low))
    np.testing.assert_allclose(picture.pixels[0], expected, atol=1e-6)


@pytest.mark.parametrize("window", [None, (1000, 2000), "file"])
def test_monochrome1_is_inverted_after_the_window(edited, window):
    straight = read("MR_small.dcm", window=window)
    inverted = read_image(edited("MR_small.dcm", PhotometricInterpretation="MONOCHROME1"), ReadOptions(window=window))
    np.testing.assert_allclose(inverted.pixels, 1 - straight.pixels, atol=1e-7)
    assert (straight.kind, inverted.kind) == ("grey", "grey (stored inverted)")
    assert straight.scale == inverted.scale


def test_eight_bits_stay_uint8_and_are_inverted_as_such(edited):
    plain = read("JPEGLSNearLossless_08.dcm")
    assert plain.pixels.dtype == np.uint8
    assert plain.scale == "8 bit, 0 to 255"
    inverted = read_image(edited("JPEGLSNearLossless_08.dcm", PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_array_equal(inverted.pixels, 255 - plain.pixels)
    rescaled = read_image(edited("JPEGLSNearLossless_08.dcm", RescaleSlope=2, RescaleIntercept=-10))
    assert rescaled.scale == "8 bit, -10 to 500 as 0 to 1"
    np.testing.assert_allclose(rescaled.pixels, (plain.pixels * 2.0 - 10 + 10) / 510, atol=1e-7)


def test_signed_twelve_bits_and_a_negative_slope(edited):
    stored = np.linspace(-2048, 2047, 128 * 128).astype("<i2")
    changes = {
        "PixelData": stored.tobytes(),
        "BitsStored": 12,
        "HighBit": 11,
        "RescaleSlope": -2,
        "RescaleIntercept": 5,
    }
    picture = read_image(edited(**changes))
    values = stored.astype(np.float64).reshape(128, 128) * -2 + 5
    low, high = 2047 * -2 + 5, -2048 * -2 + 5
    np.testing.assert_allclose(picture.pixels[0], (values - low) / (high - low), atol=1e-6)
    assert picture.scale == f"12 bit, {low} to {high} as 0 to 1"


@pytest.mark.parametrize("signed", [False, True])
def test_what_lies_above_the_stored_bits_is_no_part_of_the_pixel(edited, signed):
    """Twelve bits of sixteen; overlays of older files, or anything, in the four above them."""
    random = np.random.default_rng(0)
    low = -2048 if signed else 0
    values = random.integers(low, low + 4096, 128 * 128)
    stored = (values & 0xFFF) | (random.integers(0, 16, 128 * 128) << 12)
    path = edited(PixelData=stored.astype("<u2").tobytes(), BitsStored=12, HighBit=11, PixelRepresentation=int(signed),
                  RescaleSlope=None, RescaleIntercept=None)  # fmt: skip
    np.testing.assert_allclose(read_image(path).pixels.ravel(), (values - low) / 4095, atol=1e-6)


@pytest.mark.parametrize("high", [12, 15])
def test_bits_that_do_not_begin_at_the_lowest_are_unreadable(edited, high):
    """pydicom would take the lower bits, which are empty, for the number."""
    stored = (np.arange(128 * 128) % 4096) << (high - 11)
    path = edited(PixelData=stored.astype("<u2").tobytes(), BitsStored=12, HighBit=high, PixelRepresentation=0)
    with pytest.raises(
        UnreadableFile, match=r"edited.dcm: its stored bits do not begin at the lowest bit; re-export it"
    ):
        read_image(path)


@pytest.mark.parametrize(
    ("name", "photometric"),
    [("CT_small.dcm", "RGB"), ("SC_rgb_small_odd.dcm", "MONOCHROME2"), ("SC_rgb_small_odd.dcm", "PALETTE COLOR")],
)
def test_grey_is_one_number_a_pixel_and_colour_three(edited, name, photometric):
    with pytest.raises(UnreadableFile, match=r"edited.dcm: SamplesPerPixel is inconsistent with PhotometricInterp"):
        read_image(edited(name, PhotometricInterpretation=photometric))


def test_a_modality_table_comes_before_the_window(edited):
    table = item(LUTDescriptor=[4096, 0, 16], LUTData=[(n * 7) % 65536 for n in range(4096)], ModalityLUTType="US")
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    path = edited(ModalityLUTSequence=Sequence([table]), RescaleSlope=None, RescaleIntercept=None)
    values = raw("CT_small.dcm", "<i2") * 7 % 65536
    np.testing.assert_allclose(read_image(path).pixels[0], values / 65535, atol=1e-7)
    windowed = read_image(path, ReadOptions(window=(6000, 4000))).pixels[0]
    np.testing.assert_allclose(windowed, np.clip((values - 4000) / 4000, 0, 1), atol=1e-7)
    with pytest.raises(InvalidReadOption, match="does not declare HU"):
        read_image(path, ReadOptions(window="bone"))


def linear(x, center, width):
    """PS3.3 C.11.2.1.2.1, line by line, for y from 0 to 1."""
    if x <= center - 0.5 - (width - 1) / 2:
        return 0.0
    if x > center - 0.5 + (width - 1) / 2:
        return 1.0
    return (x - (center - 0.5)) / (width - 1) + 0.5


@pytest.mark.parametrize(
    ("function", "formula"),
    [
        (None, linear),
        ("LINEAR", linear),
        ("LINEAR_EXACT", lambda x, c, w: min(max((x - c) / w + 0.5, 0), 1)),
        ("SIGMOID", lambda x, c, w: 0.5 + np.tanh(2 * (x - c) / w) / 2),
    ],
)
@pytest.mark.parametrize(("center", "width"), [(600, 1600), ([700, 20], [100, 40]), (800, 1)])
def test_the_files_own_window_is_its_first(edited, function, formula, center, width):
    changes = {"WindowCenter": center, "WindowWidth": width} | ({"VOILUTFunction": function} if function else {})
    picture = read_image(edited("MR_small.dcm", **changes), ReadOptions(window="file"))
    first = (center[0], width[0]) if isinstance(center, list) else (center, width)
    expected = [formula(x, *first) for x in raw("MR_small.dcm", "<i2").ravel()]
    np.testing.assert_allclose(picture.pixels.ravel(), expected, atol=1e-6)
    assert picture.scale == "the window each file names, as 0 to 1"


def test_a_voi_table_goes_before_the_files_window(edited):
    table = item(LUTDescriptor=[2000, 100, 12], LUTData=[min(2 * n, 4095) for n in range(2000)])
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    path = edited("MR_small.dcm", VOILUTSequence=Sequence([table]))
    place = np.clip(raw("MR_small.dcm", "<i2") - 100, 0, 1999)
    picture = read_image(path, ReadOptions(window="file"))
    np.testing.assert_allclose(picture.pixels[0], np.minimum(2 * place, 4095) / 4095, atol=1e-7)


def test_a_file_without_a_window_of_its_own_is_refused():
    with pytest.raises(InvalidReadOption, match=r"CT_small.dcm contains no window; give window=\(center, width\)"):
        read("CT_small.dcm", window="file")


@pytest.mark.parametrize("changes", [{"RescaleSlope": None, "RescaleIntercept": None}, {"Modality": "MR"},
                                     {"RescaleType": "US"}])  # fmt: skip
def test_a_named_window_needs_numbers_that_are_known_to_be_hounsfield_units(edited, changes):
    path = edited(**changes)
    with pytest.raises(
        InvalidReadOption, match=r"window='lung' is in HU, and edited.dcm does not declare HU .* or set assume_hu=True"
    ):
        read_image(path, ReadOptions(window=["lung", "bone"]))
    values = raw("CT_small.dcm", "<i2") - (0 if "RescaleSlope" in changes else 1024)
    assumed = read_image(path, ReadOptions(window="lung", assume_hu=True)).pixels[0]
    np.testing.assert_allclose(assumed, np.clip((values + 1350) / 1500, 0, 1), atol=1e-7)


@pytest.mark.parametrize(("frames", "rows"), [("first", [0]), ("middle", [7]), ("all", list(range(15)))])
def test_frames_are_chosen_by_name(frames, rows):
    stored = np.frombuffer(dataset("rtdose.dcm").PixelData, "<u4").reshape(15, 10, 10).astype(np.float64)
    picture = read("rtdose.dcm", frames=frames)
    np.testing.assert_allclose(picture.pixels, stored[rows] / (2**32 - 1), rtol=1e-6)
    np.testing.assert_array_equal(read("rtdose_rle.dcm", frames=frames).pixels, picture.pixels)


def enhanced(edited, slopes):
    """A multi-frame file that keeps its rescale in functional groups, as enhanced CT does."""
    groups = [item(PixelValueTransformationSequence=Sequence([item(RescaleSlope=s, RescaleIntercept=-1000)]))
              for s in slopes]  # fmt: skip
    where = "PerFrameFunctionalGroupsSequence" if len(groups) > 1 else "SharedFunctionalGroupsSequence"
    return edited("rtdose.dcm", Modality="CT", **{where: Sequence(groups)})


def test_a_rescale_in_functional_groups_is_found(edited):
    stored = np.frombuffer(dataset("rtdose.dcm").PixelData, "<u4").reshape(15, 10, 10).astype(np.float64)
    shared = read_image(enhanced(edited, [0.001]), ReadOptions(window="bone", frames="all")).pixels
    np.testing.assert_allclose(shared, np.clip((stored * 0.001 - 1000 + 500) / 1800, 0, 1), atol=1e-6)
    slopes = np.arange(1, 16) / 10000
    path = enhanced(edited, slopes.round(4).tolist())
    each = read_image(path, ReadOptions(window="bone", frames="all")).pixels
    expected = np.clip((stored * slopes[:, None, None] - 500) / 1800, 0, 1)
    np.testing.assert_allclose(each, expected, atol=1e-6)
    with pytest.raises(InvalidReadOption, match="frames with different scales"):
        read_image(path, ReadOptions(frames="all"))


def test_colour_becomes_rgb():
    ds = dataset("SC_rgb_small_odd.dcm")
    expected = np.frombuffer(ds.PixelData, np.uint8)[:27].reshape(3, 3, 3)
    picture = read("SC_rgb_small_odd.dcm")
    np.testing.assert_array_equal(picture.pixels[0], expected)
    assert (picture.kind, picture.scale) == ("colour", "8 bit, 0 to 255")
    two = read("SC_rgb_rle_16bit_2frame.dcm", frames="all").pixels
    assert two.shape == (2, 100, 100, 3)
    assert two.dtype == np.float32
    np.testing.assert_allclose(two, dataset("SC_rgb_rle_16bit_2frame.dcm").pixel_array / 65535, atol=1e-7)


def test_subsampled_ybr_becomes_rgb():
    packed = np.frombuffer(dataset("SC_ybr_full_422_uncompressed.dcm").PixelData, np.uint8).reshape(-1, 4)
    luma = packed[:, :2].reshape(100, 100).astype(np.float64)
    blue, red = (np.repeat(packed[:, n], 2).reshape(100, 100) - 128.0 for n in (2, 3))
    expected = np.stack([luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue], -1)
    pixels = read("SC_ybr_full_422_uncompressed.dcm").pixels[0].astype(float)
    np.testing.assert_allclose(pixels, np.clip(expected, 0, 255), atol=1.0)
    for name in ("SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_dcmtk_+eb+cy+n1.dcm"):  # the same test card through JPEG
        assert np.abs(read(name).pixels[0].astype(float) - pixels).mean() < 6


def test_a_palette_becomes_rgb():
    ds = dataset("examples_palette.dcm")
    index = np.frombuffer(ds.PixelData, np.uint8)[: ds.Rows * ds.Columns].reshape(ds.Rows, ds.Columns)
    tables = [np.frombuffer(ds[f"{c}PaletteColorLookupTableData"].value, "<u2") for c in ("Red", "Green", "Blue")]
    expected = np.stack([table[index] for table in tables], -1) / 65535
    np.testing.assert_allclose(read("examples_palette.dcm").pixels[0], expected, atol=1e-7)


def test_a_window_for_colour_is_refused():
    with pytest.raises(InvalidReadOption, match="is a colour image and window= needs grey images"):
        read("SC_rgb_small_odd.dcm", window=(100, 50))


def test_a_file_of_any_name_is_known_by_its_mark(tmp_path):
    content = Path(get_testdata_file("CT_small.dcm", download=False)).read_bytes()
    for name in ("1.2.840.113.5", "IM0001"):
        (tmp_path / name).write_bytes(content)
        np.testing.assert_array_equal(read_image(tmp_path / name).pixels, read("CT_small.dcm").pixels)


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ("liver", "unknown window='liver'; use lung, abdomen, brain, subdural, bone"),
        ([], r"window=\[\] is empty"),
        ((40, 0), "must be finite and the width above 0"),
        ((40, -3), "must be finite and the width above 0"),
        ((float("nan"), 3), "must be finite"),
        ((1, 2, 3), r"window=1; give a name of"),
        ([(1, 2, 3)], r"give a name of .* or the two numbers"),
        (["lung", "file"], "unknown window='file'"),
    ],
)
def test_windows_that_are_none_are_refused(window, message):
    with pytest.raises(ValueError, match=message):
        ReadOptions(window=window)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"frames": "last"}, "unknown frames='last'; use one of middle, first, all, mask"),
        ({"axis": "up"}, "unknown axis='up'; use one of axial, coronal, sagittal"),
        ({"spacing": 0}, "spacing=0; it must be above 0"),
        ({"max_pixels": 0}, "max_pixels=0; it must be above 0"),
    ],
)
def test_options_that_are_none_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        ReadOptions(**option)


@pytest.mark.parametrize("name", ["MR_truncated.dcm", "badVR.dcm", "no_meta.dcm", "JPEG-lossy.dcm", "rtplan.dcm"])
def test_damaged_files_and_files_without_a_picture_are_unreadable(name):
    with pytest.raises(UnreadableFile, match=f"cannot read {name}: it "):
        read(name)


@pytest.mark.parametrize("share", [0.0, 0.005, 0.1, 0.9])
@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_jp2klossless.dcm", "MR_small_RLE.dcm"])
def test_a_truncated_file_is_unreadable(tmp_path, name, share):
    content = Path(get_testdata_file(name, download=False)).read_bytes()
    (tmp_path / "x.dcm").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UnreadableFile, match=r"cannot read x.dcm: it "):
        read_image(tmp_path / "x.dcm")


def test_a_file_that_ends_before_its_pixels_may_be_one_that_was_cut_short(tmp_path):
    content = Path(get_testdata_file("CT_small.dcm", download=False)).read_bytes()
    (tmp_path / "x.dcm").write_bytes(content[:2000])
    with pytest.raises(UnreadableFile, match=r"it contains no pixels; remove reports .* or re-export a truncated file"):
        read_image(tmp_path / "x.dcm")


def test_an_absurd_size_is_refused_before_room_is_made(edited):
    with pytest.raises(
        UnreadableFile, match="its header declares 1 x 65535 x 65535 x 1 pixels, more than max_pixels=268435456"
    ):
        read_image(edited(Rows=65535, Columns=65535))
    with pytest.raises(UnreadableFile, match="1 x 0 x 128 x 1 pixels; re-export the file"):
        read_image(edited(Rows=0))
    with pytest.raises(UnreadableFile, match="its header declares 2000000000 x 128 x 128 x 1 pixels"):
        read_image(edited(NumberOfFrames=2000000000), ReadOptions(frames="all"))
    with pytest.raises(UnreadableFile, match="its header declares -3 x 128 x 128 x 1 pixels; re-export the file"):
        read_image(edited(NumberOfFrames=-3))


def test_a_deflated_bomb_is_refused_before_it_is_unpacked(edited, tmp_path):
    whole = edited("CT_small.dcm")
    ds = pydicom.dcmread(whole)
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    ds.save_as(tmp_path / "small.dcm")
    np.testing.assert_array_equal(read_image(tmp_path / "small.dcm").pixels, read_image(whole).pixels)
    ds.add_new(0x7FE10010, "OB", bytes(1 << 26))
    ds.save_as(tmp_path / "bomb.dcm")
    assert (tmp_path / "bomb.dcm").stat().st_size < 1 << 18
    assert read_image(tmp_path / "bomb.dcm").pixels.shape == (1, 128, 128)
    tracemalloc.start()
    try:
        with pytest.raises(
            UnreadableFile, match=r"bomb.dcm: it unpacks to more than 17177216 bytes, .*; raise max_pixels"
        ):
            read_image(tmp_path / "bomb.dcm", ReadOptions(max_pixels=100_000))
        assert tracemalloc.get_traced_memory()[1] < 1 << 25
    finally:
        tracemalloc.stop()


def test_a_deflated_file_without_preamble_is_refused_whatever_it_unpacks_to(edited, tmp_path):
    ds = pydicom.dcmread(edited("CT_small.dcm"))
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    ds.save_as(tmp_path / "whole.dcm")
    bare = tmp_path / "bare.dcm"
    bare.write_bytes((tmp_path / "whole.dcm").read_bytes()[132:])
    with pytest.raises(
        UnreadableFile, match=r"bare.dcm: it is deflated and has no preamble; re-export it with a preamble"
    ):
        read_image(bare)


def test_another_photometric_interpretation_is_refused(edited):
    with pytest.raises(InvalidReadOption, match="convert it to MONOCHROME2 or RGB"):
        read_image(edited(PhotometricInterpretation="HSV"))


def test_floats_need_a_window(edited):
    floats = np.linspace(-1, 3, 128 * 128, dtype="<f4")
    path = edited(PixelData=None, FloatPixelData=floats.tobytes(), BitsAllocated=32, BitsStored=None, HighBit=None,
                  RescaleSlope=None, RescaleIntercept=None, PixelRepresentation=None)  # fmt: skip
    with pytest.raises(InvalidReadOption, match="which have no fixed range; give window="):
        read_image(path)
    pixels = read_image(path, ReadOptions(window=(1, 2))).pixels
    np.testing.assert_allclose(pixels.ravel(), np.clip(floats / 2, 0, 1), atol=1e-6)


def test_without_pydicom_the_error_says_how_to_get_it(monkeypatch):
    def absent(package):
        raise ImportError(package)

    monkeypatch.setattr("lightning_distill.data.readers.optional_deps.import_module", absent)
    for kind in (ValueError, ImportError):
        with pytest.raises(kind, match=r"reading DICOM files needs pydicom: pip install 'lightning-distill\[dicom\]'"):
            read("CT_small.dcm")


def test_without_a_decoder_the_error_says_how_to_get_it(monkeypatch):
    decoder = import_module("pydicom.pixels").get_decoder(pydicom.uid.JPEG2000Lossless)
    monkeypatch.setattr(type(decoder), "is_available", False)
    with pytest.raises(
        InvalidReadOption, match=r"compressed as JPEG 2000 .*; to decode it: pip install 'lightning-distill\[dicom\]'"
    ):
        read("MR_small_jp2klossless.dcm")


NAME = "Mustermann^Erika"


@pytest.mark.parametrize("options", [{}, {"window": "file"}, {"window": "lung"}, {"window": (40, 400)}])
@pytest.mark.parametrize("damage", [{}, {"Rows": 500}, {"PhotometricInterpretation": NAME}, {"BitsStored": 300},
                                    {"PixelData": None}, {"RescaleSlope": None},
                                    {"RescaleSlope": "1.0000000000000000007"}, {"RescaleType": NAME * 9}])  # fmt: skip
def test_nothing_of_the_header_is_said_anywhere(edited, caplog, capsys, options, damage):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of writing
        path = edited(PatientName=NAME, PatientID=NAME, InstitutionName=NAME, StudyInstanceUID=NAME,
                      SOPInstanceUID=NAME, AccessionNumber=NAME, StudyDate="2017-bad " + NAME, **damage)  # fmt: skip
    caplog.clear()
    caplog.set_level(logging.DEBUG)
    output = ""
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        try:
            picture = read_image(path, ReadOptions(**options), "ill/x.dcm")
            output = f"{picture.scale} {picture.kind}"
        except ValueError as error:
            output = f"{error} {error.__cause__}"
            assert "ill/x.dcm" in output
    assert "Mustermann" not in output
    assert str(path.parent) not in output
    assert (record, caplog.text, "".join(capsys.readouterr())) == ([], "", "")


def test_a_number_that_is_none_is_not_quoted(edited):
    path = edited(RescaleSlope="1.2345678")
    path.write_bytes(path.read_bytes().replace(b"1.2345678", b"Musterman"))
    with pytest.raises(UnreadableFile, match="truncated, damaged") as caught:
        read_image(path)
    assert "Musterman" not in "".join(traceback.format_exception(caught.value))


def test_tags_of_persons_are_not_even_read():
    of_text = {"PN", "DA", "TM", "DT", "LO", "SH", "UI", "AE", "AS", "LT", "ST", "UT"}
    free = {keyword for keyword in TAGS if pydicom.datadict.dictionary_VR(keyword) in of_text}
    assert free == {"RescaleType"}  # compared with HU, never kept


def test_files_of_one_patient_get_one_number_that_depends_on_the_salt(edited):
    first, second, other = (edited(to=f"{n}.dcm", PatientID=patient, PatientName=str(n))
                            for n, patient in enumerate(("A 1", "A 1 ", "A 2")))  # fmt: skip
    numbers = [patient_of(path, b"salt", path.name) for path in (first, second, other)]
    assert numbers[0] == numbers[1] != numbers[2]
    assert patient_of(first, b"other salt", "x") != numbers[0]
    elsewhere = edited(to="e.dcm", PatientID="A 1", IssuerOfPatientID="another hospital")
    assert patient_of(elsewhere, b"salt", "x") != numbers[0]
    with pytest.raises(InvalidReadOption, match=r"x has no PatientID; give a table with a patient column"):
        patient_of(edited(PatientID=""), b"salt", "x")
