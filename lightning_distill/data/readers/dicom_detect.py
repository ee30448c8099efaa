"""DICOM data sets that lie bare in a file, without preamble and mark: known by how they begin, never by a name."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

#: Deflated explicit little endian.
DEFLATED = "1.2.840.10008.1.2.1.99"
_PREAMBLE = 128
_HEAD = 1 << 12  # bytes that are looked at: what comes before the SOP class is a few short elements
_SOP_CLASS, _SYNTAX = (0x0008, 0x0016), (0x0002, 0x0010)
_ROOT = b"1.2.840.10008."  # of every identifier that the standard itself gives out
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_SHORT = {
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
    b"ST", b"TM", b"UI", b"UL", b"US",
}  # fmt: skip

Element = tuple[tuple[int, int], bytes]


def has_preamble(path: Path) -> bool:
    """Whether a file has the preamble and the mark ``DICM`` of PS3.10.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return file.read(_PREAMBLE + 4)[_PREAMBLE:] == b"DICM"


def is_headerless(path: Path) -> bool:
    """Whether a file without the mark begins as a DICOM data set does.

    Its elements, little endian with implicit or explicit value representations, follow one another from the first byte
    on in ascending order, within groups 0002 and 0008, of even lengths that fit, up to a SOP class (which every image
    has) or a transfer syntax that is one of the standard's own. No other kind of file begins so.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head[_PREAMBLE : _PREAMBLE + 4] == b"DICM":
        return False
    ways = (_implicit(head), _explicit(head))
    return any(tag in (_SOP_CLASS, _SYNTAX) and value.startswith(_ROOT) for way in ways for tag, value in _rising(way))


def is_deflated(path: Path) -> bool:
    """Whether what such a file begins with names the deflated transfer syntax, which may unpack to any size.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return DEFLATED.encode() in file.read(_HEAD)


def _rising(elements: Iterator[Element]) -> Iterator[Element]:
    """Elements as long as they are of the first groups, in ascending order, and of even length."""
    last = (0, 0)
    for tag, value in elements:
        if not (last < tag and tag[0] in (0x0002, 0x0008) and len(value) % 2 == 0):
            return
        yield tag, value
        last = tag


def _implicit(head: bytes) -> Iterator[Element]:
    """Elements of tag, four bytes of length, value, as long as they end within the head."""
    at = 0
    while at + 8 <= len(head):
        group, number, length = struct.unpack_from("<HHI", head, at)
        if (at := at + 8) + length > len(head):
            return
        yield (group, number), head[at : at + length]
        at += length


def _explicit(head: bytes) -> Iterator[Element]:
    """Elements of tag, representation, two or (after two zeros) four bytes of length, value."""
    at = 0
    while at + 12 <= len(head):
        group, number, kind = struct.unpack_from("<HH2s", head, at)
        if kind not in _SHORT | _LONG:
            return
        where, form, after = (at + 8, "<I", at + 12) if kind in _LONG else (at + 6, "<H", at + 8)
        (length,) = struct.unpack_from(form, head, where)
        if after + length > len(head):
            return
        yield (group, number), head[after : after + length]
        at = after + length
