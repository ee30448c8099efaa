"""Lookup tables, windows and palettes in every representation, against PS3.3 written out on Python integers.

The files are written here byte by byte after PS3.5, without pydicom, so that reader and writer share no mistake.
"""

from __future__ import annotations

import itertools
import math
import struct

import numpy as np
import pytest

from lightning_distill.data.readers import ReadOptions, UnreadableFile, read_image

SYNTAXES = {"implicit": "1.2.840.10008.1.2", "explicit": "1.2.840.10008.1.2.1", "big endian": "1.2.840.10008.1.2.2"}
LONG = {"OB", "OW", "OF", "SQ", "UN"}
FORMATS = {"US": "H", "SS": "h", "OW": "H", "OB": "B", "OF": "f", "UL": "I"}


class Writer:
    """Elements after PS3.5: chapter 7 and annex A."""

    def __init__(self, syntax):
        self.explicit, self.order = syntax != "implicit", ">" if syntax == "big endian" else "<"

    def element(self, tag, kind, value):
        if kind == "SQ":
            items = (b"".join(self.element(*one) for one in item) for item in value)
            content = b"".join(self.head(0xFFFEE000) + struct.pack(self.order + "I", len(i)) + i for i in items)
        elif kind in FORMATS:
            content = struct.pack(f"{self.order}{len(value)}{FORMATS[kind]}", *value)
        else:
            content = value.encode()
        content += (b"\0" if kind in ("UI", "OB") else b" ") * (len(content) % 2)
        if not self.explicit:
            return self.head(tag) + struct.pack(self.order + "I", len(content)) + content
        length = struct.pack(self.order + "xxI" if kind in LONG else self.order + "H", len(content))
        return self.head(tag) + kind.encode() + length + content

    def head(self, tag):
        return struct.pack(self.order + "HH", tag >> 16, tag & 0xFFFF)


def write(path, syntax, elements):
    meta = Writer("explicit")
    uid = meta.element(0x00020010, "UI", SYNTAXES[syntax])
    body = b"".join(Writer(syntax).element(*one) for one in sorted(elements, key=lambda one: one[0]))
    path.write_bytes(bytes(128) + b"DICM" + meta.element(0x00020000, "UL", [len(uid)]) + uid + body)
    return path


def image(stored, bits, signed, *others, photometric="MONOCHROME2", modality="MR"):
    """Elements of a grey image of one row. Pixels of up to 8 bits have one byte, others two."""
    allocated = 8 if bits == 8 else 16
    words = [number & (1 << bits) - 1 for number in stored]
    if allocated == 8:  # bytes in order; in a word of big endian files the first one is the lower byte
        words += [0] * (len(words) % 2)
        words = [low + 256 * high for low, high in zip(words[::2], words[1::2], strict=True)]
    numbers = {0x00280002: 1, 0x00280010: 1, 0x00280011: len(stored), 0x00280100: allocated, 0x00280101: bits,
               0x00280102: bits - 1, 0x00280103: int(signed)}  # fmt: skip
    return [(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.4"), (0x00080060, "CS", modality),
            (0x00280004, "CS", photometric), *((tag, "US", [value]) for tag, value in numbers.items()), *others,
            (0x7FE00010, "OW", words)]  # fmt: skip


def rescale(slope, intercept):
    return [(0x00281052, "DS", str(intercept)), (0x00281053, "DS", str(slope))]


def table(first, entries, bits, form, signed):
    """Descriptor and data of a table in one of the forms that the standard and old files know."""
    word = first % 65536 if not signed else (first + 32768) % 65536 - 32768
    count = len(entries) % 65536
    if signed and count > 32767:
        count -= 65536  # one representation for all three numbers, PS3.3 C.11.2.1.1
    descriptor = (0x00283002, "SS" if signed else "US", [count, word, bits])
    if form == "packed":
        padded = [*entries, 0] if len(entries) % 2 else list(entries)
        pairs = zip(padded[::2], padded[1::2], strict=True)
        return [descriptor, (0x00283006, "OW", [low + 256 * high for low, high in pairs])]
    return [descriptor, (0x00283006, {"words": "OW", "numbers": "US", "bytes": "OB"}[form], list(entries))]


def looked_up(value, first, entries):
    return entries[min(max(value - first, 0), len(entries) - 1)]


def stored_values(bits, signed, count=23):
    low = -(2 ** (bits - 1)) if signed else 0
    return sorted(
        {low + round(n * (2**bits - 1) / (count - 1)) for n in range(count)} | {max(low, n) for n in range(-9, 9)}
    )


def cases(*others):
    for syntax in SYNTAXES:
        for signed in (False, True):
            for bits in (8, 12, 16):
                for other in others or [()]:
                    sign = "signed" if signed else "unsigned"
                    name = "-".join(map(str, (syntax, sign, bits, *other)))
                    yield pytest.param(syntax, signed, bits, *other, id=name)


def pixels(path, window=None):
    return read_image(path, ReadOptions(window=window)).pixels.ravel()


@pytest.mark.parametrize(("syntax", "signed", "bits"), cases())
def test_the_fixed_range(tmp_path, syntax, signed, bits):
    for scaled in (None, (1, 0), (1, -3), (2.5, -1024), (-1, 7)):
        stored = stored_values(bits, signed)
        path = write(tmp_path / "x.dcm", syntax, image(stored, bits, signed, *(rescale(*scaled) if scaled else [])))
        slope, intercept = scaled or (1, 0)
        low = -(2 ** (bits - 1)) if signed else 0
        ends = sorted([slope * low + intercept, slope * (low + 2**bits - 1) + intercept])
        expected = [(slope * x + intercept - ends[0]) / (ends[1] - ends[0]) for x in stored]
        result = pixels(path)
        if result.dtype == np.uint8:
            assert (bits, signed) == (8, False)
            result = result / 255
        np.testing.assert_allclose(result, expected, atol=1e-6)


def linear(x, c, w):
    if x <= c - 0.5 - (w - 1) / 2:
        return 0.0
    return 1.0 if x > c - 0.5 + (w - 1) / 2 else (x - (c - 0.5)) / (w - 1) + 0.5


def exact(x, c, w):
    if x <= c - w / 2:
        return 0.0
    return 1.0 if x > c + w / 2 else (x - c) / w + 0.5


def sigmoid(x, c, w):
    return 1 / (1 + math.exp(min(-4 * (x - c) / w, 700)))


FUNCTIONS = {None: linear, "LINEAR": linear, "LINEAR_EXACT": exact, "SIGMOID": sigmoid, "sigmoid": sigmoid,
             "Linear_Exact": exact, "linear": linear}  # fmt: skip


@pytest.mark.parametrize(("syntax", "signed", "bits"), cases())
def test_windowing_functions(tmp_path, syntax, signed, bits):
    for function, scaled, (center, width) in itertools.product(
        FUNCTIONS, ((1, 0), (0.5, -20)), ((3, 9), (40.5, 80), (-2, 1))
    ):
        stored = stored_values(bits, signed)
        others = [*rescale(*scaled), (0x00281050, "DS", str(center)), (0x00281051, "DS", str(width))]
        others += [(0x00281056, "CS", function)] if function else []
        for photometric, sign in (("MONOCHROME2", 1), ("MONOCHROME1", -1)):
            path = write(tmp_path / "x.dcm", syntax, image(stored, bits, signed, *others, photometric=photometric))
            expected = np.array([FUNCTIONS[function](scaled[0] * x + scaled[1], center, width) for x in stored])
            np.testing.assert_allclose(pixels(path, "file"), expected if sign == 1 else 1 - expected, atol=1e-6)


@pytest.mark.parametrize(("function", "width", "message"), [
    ("GAUSS", 9, "has a VOILUTFunction other than LINEAR, LINEAR_EXACT and SIGMOID; give window="),
    ("LINEAR", 0.5, "has a width that is not at least 1, as LINEAR needs; give window="),
    ("LINEAR_EXACT", 0, "has a width that is not above 0"), ("SIGMOID", "nan", "has a width that is not above 0"),
])  # fmt: skip
def test_windows_that_are_none_are_refused(tmp_path, function, width, message):
    others = [(0x00281050, "DS", "3"), (0x00281051, "DS", str(width)), (0x00281056, "CS", function)]
    with pytest.raises(ValueError, match=message) as caught:
        pixels(write(tmp_path / "x.dcm", "explicit", image([1, 2], 16, False, *others)), "file")
    assert "GAUSS" not in str(caught.value)  # values of headers may identify patients


FORMS = [("words", 16), ("words", 12), ("words", 8), ("packed", 8), ("numbers", 16), ("numbers", 10)]


@pytest.mark.parametrize(("syntax", "signed", "bits", "form", "depth"), cases(*FORMS))
def test_modality_tables(tmp_path, syntax, signed, bits, form, depth):
    stored = stored_values(bits, signed)
    for first, count in ((0, 6), (-3, 6), (5, 7), (-3, 1), (0, 256)):
        first = first if signed else max(first, 0)
        entries = [(n * 37 + 11) % 2**depth for n in range(count)]
        item = [*table(first, entries, depth, form, signed), (0x00283004, "LO", "US")]
        path = write(tmp_path / "x.dcm", syntax, image(stored, bits, signed, (0x00283000, "SQ", [item])))
        expected = np.array([looked_up(x, first, entries) for x in stored])
        np.testing.assert_allclose(pixels(path), expected / (2**depth - 1), atol=1e-6)
        np.testing.assert_allclose(pixels(path, (50, 60)), np.clip((expected - 20) / 60, 0, 1), atol=1e-6)


@pytest.mark.parametrize(("syntax", "signed", "bits", "form", "depth"), cases(*FORMS))
def test_voi_tables(tmp_path, syntax, signed, bits, form, depth):
    stored = stored_values(bits, signed)
    scales = ((None, 0, 6), (None, -3, 6), ((1, 0), 2, 5), ((1, -3), -3, 6), ((1, -1024), -1024, 300), ((0.5, 2), 1, 9))
    for scaled, first, count in scales:
        slope, intercept = scaled or (1, 0)
        negative = intercept < 0 or signed
        first = first if negative else max(first, 0)
        entries = [(n * 41 + 5) % 2**depth for n in range(count)]
        item = table(first, entries, depth, form, negative)  # PS3.3 C.11.2.1.1: signed where the output may be signed
        others = [*(rescale(*scaled) if scaled else []), (0x00283010, "SQ", [item])]
        path = write(tmp_path / "x.dcm", syntax, image(stored, bits, signed, *others))
        expected = [looked_up(round(slope * x + intercept), first, entries) / (2**depth - 1) for x in stored]
        np.testing.assert_allclose(pixels(path, "file"), expected, atol=1e-6)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_voi_table_comes_after_a_modality_table(tmp_path, syntax):
    """The output of a modality table is unsigned, so the first value of the VOI table is, too."""
    first, second = [40000, 50000, 60000], [7, 8, 9, 10]
    others = [(0x00283000, "SQ", [table(-1, first, 16, "words", True)]),
              (0x00283010, "SQ", [table(49999, second, 8, "packed", False)])]  # fmt: skip
    path = write(tmp_path / "x.dcm", syntax, image([-2, -1, 0, 1, 2], 16, True, *others))
    np.testing.assert_allclose(pixels(path, "file"), np.array([7, 7, 8, 10, 10]) / 255, atol=1e-6)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_an_identity_table_of_a_ct_is_no_black_image(tmp_path, syntax):
    stored = [0, 24, 1024, 2000, 4095]
    others = [*rescale(1, -1024), (0x00283010, "SQ", [table(-1024, range(4096), 12, "words", True)])]
    path = write(tmp_path / "x.dcm", syntax, image(stored, 12, False, *others, modality="CT"))
    np.testing.assert_allclose(pixels(path, "file"), np.array(stored) / 4095, atol=1e-6)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("count", [32767, 32768, 40000, 65535, 65536])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("where", [0x00283000, 0x00283010])
def test_the_number_of_entries_is_unsigned(tmp_path, syntax, count, signed, where):
    first = -32768 if signed else 0
    entries = [n * 7 % 65536 for n in range(count)]
    stored = stored_values(16, signed)
    others = [(where, "SQ", [table(first, entries, 16, "words", signed)])]
    path = write(tmp_path / "x.dcm", syntax, image(stored, 16, signed, *others))
    expected = np.array([looked_up(x, first, entries) for x in stored]) / 65535
    np.testing.assert_allclose(pixels(path, None if where == 0x00283000 else "file"), expected, atol=1e-6)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_first_value_in_the_other_representation_is_known_by_its_reach(tmp_path, syntax):
    """Writers that say US where the standard says SS, or the reverse: the table would miss all possible inputs."""
    wrong = table(-3, [0, 51, 102, 153, 204, 255], 8, "words", False)  # 65533, after an intercept of -3
    path = write(tmp_path / "x.dcm", syntax, image(range(6), 12, False, *rescale(1, -3), (0x00283010, "SQ", [wrong])))
    np.testing.assert_allclose(pixels(path, "file"), [0, 0.2, 0.4, 0.6, 0.8, 1], atol=1e-6)
    wrong = table(40000, [0, 128, 255], 8, "words", True)  # -25536, of unsigned pixels
    path = write(tmp_path / "x.dcm", syntax, image([1, 40000, 40001, 65535], 16, False, (0x00283010, "SQ", [wrong])))
    np.testing.assert_allclose(pixels(path, "file") * 255, [0, 0, 128, 255], atol=1e-4)


@pytest.mark.parametrize("syntax", ["explicit", "big endian"])
def test_bytes_have_no_byte_order(tmp_path, syntax):
    item = table(0, [1, 2, 3, 250, 9], 8, "bytes", False)
    path = write(tmp_path / "x.dcm", syntax, image(range(5), 12, False, (0x00283010, "SQ", [item])))
    np.testing.assert_allclose(pixels(path, "file") * 255, [1, 2, 3, 250, 9], atol=1e-4)


@pytest.mark.parametrize(("item", "message"), [
    (table(0, [1, 2, 300], 8, "words", False), "has entries above 8 bits"),
    ([*table(0, [1, 2, 3], 16, "words", False)[:1]], "has 0 of 3 entries"),
    ([table(0, range(9), 16, "words", False)[0], table(0, [1, 2], 16, "words", False)[1]], "has 2 of 9 entries"),
    ([table(0, [1, 2], 16, "words", False)[1]], "has no valid descriptor"),
    ([(0x00283002, "US", [2, 0]), table(0, [1, 2], 16, "words", False)[1]], "has no valid descriptor"),
    (table(0, [1, 2], 32, "words", False), "has no valid descriptor"),
])  # fmt: skip
@pytest.mark.parametrize("where", [0x00283000, 0x00283010])
def test_tables_that_are_none_are_damaged_files(tmp_path, item, message, where):
    path = write(tmp_path / "x.dcm", "explicit", image([1, 2], 12, False, (where, "SQ", [item])))
    with pytest.raises(UnreadableFile, match=f"cannot read x.dcm: its lookup table {message}; re-export the file"):
        pixels(path, "file")


def segments(entries, depth):
    """One discrete, one linear and one indirect segment (PS3.3 C.7.9.2), and the entries they stand for."""
    data = [0, 3, *entries[:3], 1, 4, entries[3]]
    start, end = entries[2], entries[3]
    whole = [*entries[:3], *(round(start + (end - start) * n / 4) for n in range(1, 5))]
    offset = 0
    data += [2, 1, *((offset >> 8 * n & 255 for n in range(4)) if depth == 8 else (offset & 65535, offset >> 16))]
    return data, [*whole, *entries[:3]]


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(("depth", "form"), [(8, "packed"), (8, "words"), (16, "words")])
@pytest.mark.parametrize("segmented", [False, True])
@pytest.mark.parametrize("first", [0, 4])
def test_palettes(tmp_path, syntax, bits, depth, form, segmented, first):
    if segmented and (depth, form) == (8, "words"):
        pytest.skip("segments of 8 bits are packed")
    others, expected, stored = [], [], range(16)
    for channel in range(3):
        entries = [(n * 29 + 3 + 50 * channel) % 2**depth for n in range(10)]
        data = entries
        if segmented:
            data, entries = segments(entries, depth)
        descriptor = table(first, entries, depth, form, False)[0]
        content = table(first, data, depth, form, False)[1]
        tag = (0x00281221 if segmented else 0x00281201) + channel
        others += [(0x00281101 + channel, *descriptor[1:]), (tag, *content[1:])]
        expected.append([looked_up(x, first, entries) / (2**depth - 1) for x in stored])
    path = write(tmp_path / "x.dcm", syntax, image(stored, bits, False, *others, photometric="PALETTE COLOR"))
    picture = read_image(path).pixels[0, 0]
    assert picture.dtype == (np.uint8 if depth == 8 else np.float32)
    np.testing.assert_allclose(picture / (255 if depth == 8 else 1), np.transpose(expected), atol=1e-6)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_tables_of_functional_groups(tmp_path, syntax):
    voi = [(0x00289132, "SQ", [[(0x00283010, "SQ", [table(-3, [0, 51, 102, 153, 204, 255], 8, "packed", True)])]])]
    scaled = [(0x00289145, "SQ", [rescale(1, -3)])]
    others = [(0x52009229, "SQ", [[*voi, *scaled]]), (0x00280008, "IS", "1")]
    path = write(tmp_path / "x.dcm", syntax, image(range(6), 16, False, *others))
    np.testing.assert_allclose(pixels(path, "file"), [0, 0.2, 0.4, 0.6, 0.8, 1], atol=1e-6)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_floats_that_are_no_numbers_are_damaged(tmp_path, syntax, wrong):
    elements = [
        one for one in image([1, 2], 16, False) if one[0] not in (0x7FE00010, 0x00280101, 0x00280102, 0x00280103)
    ]
    elements = [(tag, kind, [32] if tag == 0x00280100 else value) for tag, kind, value in elements]
    path = write(tmp_path / "x.dcm", syntax, [*elements, (0x7FE00008, "OF", [1.0, wrong])])
    with pytest.raises(UnreadableFile, match="it has NaN or infinite pixels; replace them by finite numbers"):
        pixels(path, (0, 2))
    path = write(tmp_path / "x.dcm", syntax, [*elements, (0x7FE00008, "OF", [1.0, -0.5])])
    np.testing.assert_allclose(pixels(path, (0, 2)), [1, 0.25], atol=1e-6)
