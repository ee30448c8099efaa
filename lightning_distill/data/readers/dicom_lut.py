"""Read and apply the lookup tables of DICOM files: modality, VOI and palette, plain or segmented."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lightning_distill.data.checks.arrays import Array
from lightning_distill.data.readers.base import UnreadableFile

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset

_WORDS = 1 << 16  # values of 16 bits; a table with this many entries declares 0
_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2  # opcodes of segmented tables


@dataclass(frozen=True)
class Inputs:
    """Values that a lookup table may be given.

    Args:
        low: Smallest possible value; NaN if unknown.
        high: Largest possible value; NaN if unknown.
        signed: Whether the standard declares the first mapped value of the table to be signed.
    """

    low: float
    high: float
    signed: bool


@dataclass(frozen=True)
class LookupTable:
    """Lookup table of unsigned integers.

    Args:
        entries: Entries ``(E,)`` from 0 to ``2**bits - 1``.
        first: Value that is mapped to the first entry; smaller values are mapped to it, too.
        bits: Bits per entry, 1 to 16.
    """

    entries: NDArray[np.int64]
    first: int
    bits: int

    @property
    def high(self) -> float:
        """Largest value that an entry can become."""
        return 2.0**self.bits - 1

    def apply(self, values: Array) -> NDArray[np.int64]:
        """Replace values by entries. Values that are not integers are rounded; values outside take the end entries."""
        place = np.rint(values).astype(np.int64) - self.first
        return self.entries[np.clip(place, 0, len(self.entries) - 1)]


def read_table(
    ds: Dataset, inputs: Inputs, name: str, prefix: str = "LUT", source: Dataset | None = None
) -> LookupTable:
    """Read a lookup table from its descriptor and data.

    The three values of the descriptor share one value representation, but the number of entries and of bits are always
    unsigned. The first mapped value has the sign that an explicit representation declares, else the one of
    ``inputs``; if the table would then lie outside of all possible inputs, the other sign is used.

    Args:
        ds: Data set or sequence item with the table.
        inputs: Values that the table may be given.
        name: Name of the file in error messages.
        prefix: Beginning of the keywords: ``LUT`` or ``RedPaletteColorLookupTable`` etc.
        source: Data set of the file, with its encoding. Default: ``ds``.

    Raises:
        UnreadableFile: The descriptor or the data are missing, contradict each other, or break the standard.

    Reference: NEMA, DICOM PS3.3, sections C.7.6.3.1.5, C.7.6.3.1.6, C.7.9, C.11.1.1 and C.11.2.1.1.
    """
    implicit, little = (ds if source is None else source).original_encoding
    elements = [ds[keyword] for keyword in (f"{prefix}Descriptor",) if keyword in ds]
    descriptor = [number for element in elements for number in _words(element, bool(little)).tolist()]
    if len(descriptor) != 3 or not 1 <= descriptor[2] <= 16:
        raise UnreadableFile(f"cannot read {name}: its lookup table has no valid descriptor; re-export the file")
    count, bits = descriptor[0] or _WORDS, descriptor[2]
    kind = elements[0].VR
    signed = inputs.signed if implicit or kind not in ("US", "SS") else kind == "SS"
    first = _first(descriptor[1], count, signed, inputs)
    if f"{prefix}Data" in ds:
        entries = _unpack(_words(ds[f"{prefix}Data"], bool(little)), count, bits)
    elif f"Segmented{prefix}Data" in ds:
        packed = _words(ds[f"Segmented{prefix}Data"], bool(little))
        entries = np.array(_expand(_bytes(packed) if bits == 8 else packed.tolist(), bits == 8), np.int64)[:count]
    else:
        entries = np.empty(0, np.int64)
    if len(entries) < count:
        raise UnreadableFile(
            f"cannot read {name}: its lookup table has {len(entries)} of {count} entries; re-export the file"
        )
    if entries.max() >= 2**bits:
        raise UnreadableFile(f"cannot read {name}: its lookup table has entries above {bits} bits; re-export the file")
    return LookupTable(entries, first, bits)


def _words(element: DataElement, little: bool) -> NDArray[np.int64]:
    """Return the value of an element as unsigned words of 16 bits."""
    value = element.value
    if value is None:
        return np.empty(0, np.int64)
    if isinstance(value, bytes):  # bytes of OB have no byte order; words then begin with the lower byte
        kind = "<u2" if little or element.VR == "OB" else ">u2"
        return np.frombuffer(value + b"\0" * (len(value) % 2), kind).astype(np.int64)
    return np.atleast_1d(np.asarray(value, np.int64)) % _WORDS


def _bytes(words: NDArray[np.int64]) -> list[int]:
    """Return the bytes of words, the lower byte first."""
    return [int(byte) for byte in words.astype("<u2").view(np.uint8)]


def _unpack(words: NDArray[np.int64], count: int, bits: int) -> NDArray[np.int64]:
    """Return the entries of a table. Entries of 8 bits are stored one or two to a word; the length tells which."""
    if bits <= 8 and len(words) < count:
        return np.array(_bytes(words), np.int64)[:count]
    return words[:count]


def _first(word: int, count: int, signed: bool, inputs: Inputs) -> int:
    """Return the first mapped value, of the two numbers that a word may stand for."""
    numbers = {False: word, True: word - _WORDS if word >= _WORDS // 2 else word}

    def misses(first: int) -> bool:
        return first > inputs.high or first + count - 1 < inputs.low

    usable = not misses(numbers[signed]) or misses(numbers[not signed])
    return numbers[signed if usable else not signed]


def _expand(
    data: list[int], eight_bits: bool, segments: int | None = None, entries: list[int] | None = None
) -> list[int]:
    """Return the entries of a segmented table. A table cut short ends early.

    Args:
        data: Bytes or words of the segments.
        eight_bits: Whether the segments consist of bytes.
        segments: Number of segments that are expanded. ``None`` expands all.
        entries: Entries before the first segment.

    Raises:
        ValueError: An opcode is unknown, a linear or indirect segment comes first, or segments refer in circles.
    """
    entries, nested = ([], False) if entries is None else (entries, True)
    at, done = 0, 0
    while at + 1 < len(data) and done != segments and len(entries) <= _WORDS:
        opcode, length = data[at], data[at + 1]
        at, done = at + 2, done + 1
        if opcode == _DISCRETE:
            entries += data[at : at + length]
            at += length
        elif opcode == _LINEAR and entries:
            start, end = entries[-1], data[at]
            entries += [round(start + (end - start) * step / length) for step in range(1, length + 1)]
            at += 1
        elif opcode == _INDIRECT and entries and not nested:
            size = 4 if eight_bits else 2
            offset = sum(part << (8 * n if eight_bits else 16 * n) for n, part in enumerate(data[at : at + size]))
            _expand(data[offset if eight_bits else offset // 2 :], eight_bits, length, entries)
            at += size
        else:
            raise ValueError("invalid segment")
    return entries
