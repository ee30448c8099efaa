"""PNG, JPEG and TIFF: the numbers of a file come out as they went in, or a clear word why not."""

from __future__ import annotations

import math
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from lightning_distill.data.readers import InvalidReadOption, ReadOptions, UnreadableFile, is_image, read_image

GREY8 = np.arange(42, dtype=np.uint8).reshape(6, 7) * 6
GREY16 = np.linspace(0, 65535, 42).astype(np.uint16).reshape(6, 7)
RGB = np.stack([GREY8, 255 - GREY8, GREY8 // 2], -1)


def png(rows, depth, colour, width, height, transparent=b""):
    """A PNG written by hand: signature, IHDR, perhaps tRNS, IDAT, IEND."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">2I5B", width, height, depth, colour, 0, 0, 0))
    header += chunk(b"tRNS", transparent) if transparent else b""
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(stored, photometric, bits=16, **more):
    """An uncompressed TIFF written by hand, grey ``(H, W)`` or colour ``(H, W, 3)``; ``t274=6`` is one more tag."""
    height, width, *samples = stored.shape
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 0, 277: math.prod(samples), 278: height,
            279: stored.nbytes, **{int(tag[1:]): value for tag, value in more.items()}}  # fmt: skip
    tags[273] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0" * 4 + stored.tobytes()


@pytest.fixture
def save(tmp_path):
    def save(image, name="x.png", **options):
        (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(tmp_path / name, **options)
        return tmp_path / name

    return save


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.TIFF", "x.PNG"])
def test_eight_bits_stay_as_they_are(save, name):
    grey, colour = read_image(save(GREY8, name)), read_image(save(RGB, "c" + name))
    np.testing.assert_array_equal(grey.pixels, GREY8[None])
    np.testing.assert_array_equal(colour.pixels, RGB[None])
    assert (grey.pixels.dtype, grey.kind, colour.kind) == (np.uint8, "grey", "colour")
    assert grey.scale == colour.scale == "8 bit, 0 to 255"


@pytest.mark.parametrize("name", ["x.jpg", "x.JPEG"])
def test_jpeg_is_eight_bits(save, name):
    smooth = np.full((16, 16), 77, np.uint8)
    np.testing.assert_allclose(read_image(save(smooth, name)).pixels[0].astype(int), 77, atol=1)
    assert read_image(save(RGB, "c" + name)).pixels.shape == (1, 6, 7, 3)


@pytest.mark.parametrize("name", ["x.png", "x.tif"])
def test_sixteen_bits_become_floats_of_a_fixed_range(save, name):
    for stored in (GREY16, GREY16 // 8):
        picture = read_image(save(stored, name))
        assert picture.pixels.dtype == np.float32
        np.testing.assert_allclose(picture.pixels[0], stored / 65535, atol=1e-7)
        assert picture.scale == "16 bit, 0 to 65535 as 0 to 1"


def test_white_is_zero_is_turned(tmp_path):
    for photometric in (0, 1):
        (tmp_path / "x.tif").write_bytes(tiff(GREY16, photometric))
        expected = GREY16 / 65535 if photometric else 1 - GREY16 / 65535
        np.testing.assert_allclose(read_image(tmp_path / "x.tif").pixels[0], expected, atol=1e-7)


def test_white_is_zero_is_turned_in_eight_bits_too(tmp_path):
    content = tiff(GREY8.astype("<u2"), 0, bits=8)
    (tmp_path / "x.tif").write_bytes(content[: -2 * GREY8.size] + GREY8.tobytes())
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif").pixels[0], 255 - GREY8)


def test_twelve_bits_are_refused_as_pillow_would_not_spread_them(tmp_path):
    (tmp_path / "x.tif").write_bytes(tiff(GREY16, 1, bits=12))
    with pytest.raises(InvalidReadOption, match=r"x.tif has 12 bits per pixel; save it as 8-bit or 16-bit grey"):
        read_image(tmp_path / "x.tif")


def test_sixteen_bits_a_colour_are_refused_as_pillow_would_halve_them(tmp_path):
    row = b"\0" + struct.pack(">6H", 1, 2, 3, 60000, 60001, 60002)
    (tmp_path / "x.png").write_bytes(png(row, 16, 2, 2, 1))
    with pytest.raises(InvalidReadOption, match=r"x.png is a PNG with 16 bits per colour, which pillow reads as 8"):
        read_image(tmp_path / "x.png")


def test_sixteen_bits_a_colour_are_refused_in_tiff_too(tmp_path):
    (tmp_path / "x.tif").write_bytes(tiff(RGB.astype("<u2") * 256, 2, bits=16))
    with pytest.raises(
        InvalidReadOption, match=r"x.tif is a TIFF with 16 bits per colour, which pillow reads as 8 bits; convert it"
    ):
        read_image(tmp_path / "x.tif")


def test_signed_bytes_are_refused_as_pillow_takes_minus_one_for_255(tmp_path):
    (tmp_path / "x.tif").write_bytes(tiff(GREY8.astype(np.int8), 1, bits=8, t339=2))
    with pytest.raises(InvalidReadOption, match=r"x.tif has signed pixels; save it as unsigned 8-bit or 16-bit grey"):
        read_image(tmp_path / "x.tif")
    (tmp_path / "x.tif").write_bytes(tiff(GREY8, 1, bits=8, t339=1))
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif").pixels[0], GREY8)


def test_two_levels_and_palettes_are_opened_up(save):
    two = np.indices((5, 6)).sum(0) % 2 == 0
    np.testing.assert_array_equal(read_image(save(Image.fromarray(two))).pixels[0], two * 255)
    palette = Image.fromarray(RGB).quantize(16)
    colours = np.array(palette.getpalette()).reshape(-1, 3)
    np.testing.assert_array_equal(read_image(save(palette)).pixels[0], colours[np.asarray(palette)])


def test_an_opaque_alpha_channel_is_dropped_and_a_real_one_refused(save):
    for colours in (RGB, GREY8[..., None]):
        opaque = np.concatenate([colours, np.full((6, 7, 1), 255, np.uint8)], -1)
        np.testing.assert_array_equal(read_image(save(opaque)).pixels[0], colours.squeeze())
        opaque[2, 3, -1] = 254
        with pytest.raises(InvalidReadOption, match=r"x.png has transparent pixels; flatten it"):
            read_image(save(opaque))


@pytest.mark.parametrize(
    ("depth", "colour", "row", "occurring", "elsewhere"),
    [
        (1, 0, b"\xc0", b"\0\1", b"\0\0"),
        (8, 0, b"\5\6", b"\0\5", b"\0\7"),
        (16, 0, b"\5\6\7\1", b"\5\6", b"\5\7"),
        (8, 2, b"\5\6\7\1\2\3", b"\0\5\0\6\0\7", b"\0\5\0\6\0\1"),
    ],
)
def test_a_colour_that_means_transparent_is_refused_where_it_occurs(tmp_path, depth, colour, row, occurring, elsewhere):
    path, pixels = tmp_path / "x.png", []
    for transparent in (b"", elsewhere):
        path.write_bytes(png(b"\0" + row, depth, colour, 2, 1, transparent))
        pixels.append(read_image(path).pixels)
    np.testing.assert_array_equal(*pixels)
    path.write_bytes(png(b"\0" + row, depth, colour, 2, 1, occurring))
    with pytest.raises(InvalidReadOption, match=r"x.png has transparent pixels; flatten it"):
        read_image(path)


@pytest.mark.parametrize(("mode", "name"), [("CMYK", "x.jpg"), ("F", "x.tif"), ("I", "x.tif"), ("LAB", "x.tif")])
def test_other_pixel_formats_are_refused_by_name(save, mode, name):
    with pytest.raises(InvalidReadOption, match=f"{name} has the pixel format {mode}; save it as 8-bit grey or RGB"):
        read_image(save(Image.new(mode, (4, 4)), name))


def test_photographs_are_turned_upright(save):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise
    np.testing.assert_array_equal(read_image(save(GREY8, exif=exif)).pixels[0], np.rot90(GREY8, -1))


UPRIGHT = {
    1: lambda x: x, 2: lambda x: x[:, ::-1], 3: lambda x: x[::-1, ::-1], 4: lambda x: x[::-1], 5: lambda x: x.T,
    6: lambda x: np.rot90(x, -1), 7: lambda x: x[::-1, ::-1].T, 8: np.rot90,
}  # fmt: skip


@pytest.mark.parametrize(("stored", "bits"), [(GREY8, 8), (GREY16, 16)])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_scans_that_lie_on_a_side_are_turned_upright(tmp_path, stored, bits, orientation):
    (tmp_path / "x.tif").write_bytes(tiff(stored, 1, bits=bits, t274=orientation))
    expected = stored if bits == 8 else (stored / 65535).astype(np.float32)
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif").pixels[0], UPRIGHT[orientation](expected))


def test_pages_of_a_tiff_are_chosen_by_name(save):
    pages = [Image.fromarray(np.full((4, 5), value, np.uint8)) for value in (10, 20, 30)]
    path = save(pages[0], "x.tif", save_all=True, append_images=pages[1:])
    for frames, values in (("first", [10]), ("middle", [20]), ("all", [10, 20, 30])):
        pixels = read_image(path, ReadOptions(frames=frames)).pixels
        assert pixels.shape == (len(values), 4, 5)
        assert pixels[:, 0, 0].tolist() == values
    path = save(pages[0], "y.tif", save_all=True, append_images=[Image.fromarray(RGB)])
    with pytest.raises(
        InvalidReadOption, match=r"y.tif has pages of several sizes or pixel formats; select one with frames="
    ):
        read_image(path, ReadOptions(frames="all"))


def test_previews_and_masks_are_no_pages(save):
    """A file of one picture, with a preview (NewSubfileType 1) and a mask (4) behind it: its middle is the picture."""
    small = Image.fromarray(GREY8[::2, ::2])
    pages = [Image.fromarray(GREY8), small, Image.fromarray(GREY8 // 2)]
    for page, kind in zip(pages, (0, 1, 4), strict=True):
        page.encoderinfo = {"tiffinfo": {254: kind}}
    path = save(pages[0], "x.tif", save_all=True, append_images=pages[1:], tiffinfo={254: 0})
    with Image.open(path) as image:
        assert [(image.seek(n), image.tag_v2[254])[1] for n in range(3)] == [0, 1, 4]
    for frames in ("first", "middle", "all"):
        np.testing.assert_array_equal(read_image(path, ReadOptions(frames=frames)).pixels, GREY8[None])
    alone = save(small, "y.tif", tiffinfo={254: 1})  # nothing but a preview: that is the picture
    np.testing.assert_array_equal(read_image(alone).pixels[0], GREY8[::2, ::2])


def test_a_window_is_not_for_pictures(save):
    with pytest.raises(InvalidReadOption, match=r"x.png is a PNG, JPEG or TIFF file and window= needs DICOM or NIfTI"):
        read_image(save(GREY8), ReadOptions(window="lung"))


@pytest.mark.parametrize("edge", [12000, 60000])
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, edge, recwarn):
    (tmp_path / "x.png").write_bytes(png(b"", 8, 0, edge, edge))
    with pytest.raises(UnreadableFile, match=r"cannot read x.png: its header declares .* pixels"):
        read_image(tmp_path / "x.png", ReadOptions(max_pixels=10**8))
    assert not recwarn.list


def test_the_limit_is_yours(save):
    assert read_image(save(GREY8), ReadOptions(max_pixels=42)).pixels.shape == (1, 6, 7)
    with pytest.raises(
        UnreadableFile, match="1 x 6 x 7 pixels, more than max_pixels=41; raise max_pixels if the size is correct"
    ):
        read_image(save(GREY8), ReadOptions(max_pixels=41))


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.tif"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_truncated_file_is_unreadable(save, name, share):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)
    path = save(noise, name)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UnreadableFile, match=f"cannot read {name}: it is truncated, damaged"):
        read_image(path)


def test_no_changed_byte_of_a_png_gives_another_error(save):
    path = save(GREY8)
    content = path.read_bytes()
    refused = 0
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        try:
            read_image(path)
        except (UnreadableFile, InvalidReadOption):
            refused += 1
    assert refused > len(content) / 2


def test_missing_and_unknown_files_are_named(tmp_path):
    with pytest.raises(UnreadableFile, match=r"cannot read a/gone.png: there is no such file"):
        read_image(tmp_path / "gone.png", name="a/gone.png")
    (tmp_path / "x.txt").write_text("hello")
    with pytest.raises(
        UnreadableFile, match=r"x.txt: its format is not supported; convert it to one of png, .*, nii.gz"
    ):
        read_image(tmp_path / "x.txt")
    assert not is_image(tmp_path / "x.txt")
    assert is_image(tmp_path / "x.nii.gz")


def test_a_disk_at_fault_is_no_damaged_file(save, monkeypatch):
    def broken(*_, **__):
        raise OSError(5, "Input/output error", "/secret/place/x.png")

    monkeypatch.setattr("PIL.Image.open", broken)
    with pytest.raises(OSError, match=r"cannot read ill/x.png: Input/output error") as caught:
        read_image(save(GREY8), name="ill/x.png")
    assert not isinstance(caught.value, ValueError)
    assert "secret" not in str(caught.value)
