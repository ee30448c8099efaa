"""Detect DICOM files by their content, including data sets without preamble and meta header."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

#: Transfer syntax UID of deflated explicit VR little endian.
DEFLATED = "1.2.840.10008.1.2.1.99"
_PREAMBLE = 128
_HEAD = 1 << 12  # bytes read for detection; only a few short elements precede the SOP class
_SOP_CLASS, _SYNTAX = (0x0008, 0x0016), (0x0002, 0x0010)
_ROOT = b"1.2.840.10008."  # root of all UIDs of the standard
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_SHORT = {
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
    b"ST", b"TM", b"UI", b"UL", b"US",
}  # fmt: skip

Element = tuple[tuple[int, int], bytes]


def has_preamble(path: Path) -> bool:
    """Return whether a file has the preamble and the prefix ``DICM`` of PS3.10.

    Raises:
        OSError: The file cannot be opened.
    """
    with path.open("rb") as file:
        return file.read(_PREAMBLE + 4)[_PREAMBLE:] == b"DICM"


def is_headerless(path: Path) -> bool:
    """Return whether a file without the prefix ``DICM`` begins with a DICOM data set.

    The file must begin with little-endian elements (implicit or explicit value representation) of groups 0002 and
    0008 in ascending order and with even lengths, up to a SOP class or transfer syntax UID of the standard. Every
    DICOM image has a SOP class; no other known file format begins like this.

    Raises:
        OSError: The file cannot be opened.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head[_PREAMBLE : _PREAMBLE + 4] == b"DICM":
        return False
    parsed = (_ascending(elements) for elements in (_implicit(head), _explicit(head)))
    return any(tag in (_SOP_CLASS, _SYNTAX) and uid.startswith(_ROOT) for elements in parsed for tag, uid in elements)


def is_deflated(path: Path) -> bool:
    """Return whether the first bytes of a headerless file contain the deflated transfer syntax.

    Raises:
        OSError: The file cannot be opened.
    """
    with path.open("rb") as file:
        return DEFLATED.encode() in file.read(_HEAD)


def _ascending(elements: Iterator[Element]) -> Iterator[Element]:
    """Yield elements until one is out of order, outside groups 0002 and 0008, or of odd length."""
    last = (0, 0)
    for tag, value in elements:
        if not (last < tag and tag[0] in (0x0002, 0x0008) and len(value) % 2 == 0):
            return
        yield tag, value
        last = tag


def _implicit(head: bytes) -> Iterator[Element]:
    """Parse implicit elements (tag, 4-byte length, value) that end within the head."""
    at = 0
    while at + 8 <= len(head):
        group, number, length = struct.unpack_from("<HHI", head, at)
        if (at := at + 8) + length > len(head):
            return
        yield (group, number), head[at : at + length]
        at += length


def _explicit(head: bytes) -> Iterator[Element]:
    """Parse explicit elements (tag, representation, 2-byte or padded 4-byte length, value) that end within the head."""
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
