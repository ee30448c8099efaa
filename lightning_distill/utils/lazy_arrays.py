"""Arrays that are not in memory: rows are read from where they lie when they are asked for, and nothing stays."""

from __future__ import annotations

import io
import mmap
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]
Rows = NDArray[np.int64]
#: Neighbouring rows that are read at once have as many bytes, or one row where a row has more.
CHUNK_BYTES = 1 << 22


class LazyArray(ABC):
    """An array ``(N, ...)`` that answers ``[row]``, ``[slice]`` and ``[rows]`` with newly read, contiguous memory.

    Args:
        shape: of the whole.
        dtype: native.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> None:
        self.shape, self.dtype, self.ndim = shape, dtype, len(shape)
        self.nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize

    @abstractmethod
    def read(self, rows: Rows) -> Array:
        """Rows ``(n,)`` between 0 and N - 1, in any order, some of them twice if you like: ``(n, ...)``."""

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int | np.integer | slice | NDArray[np.integer] | Sequence[int]) -> Array:
        if isinstance(index, slice):
            return self.read(np.arange(*index.indices(len(self)), dtype=np.int64))
        rows = np.asarray(index)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64)
        if rows.size and not -len(self) <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"rows {rows.min()} to {rows.max()} of an array that has {len(self)}; they count from 0")
        read = self.read(rows.reshape(-1) % max(1, len(self)))
        return read if rows.ndim else cast(Array, read[0])

    def __array__(self, dtype: np.dtype[np.generic] | None = None, copy: bool | None = None) -> Array:
        return np.asarray(self[:], dtype)


class FileArray(LazyArray):
    """A memory-mapped array, read from its file with ``read`` calls instead of through the map.

    Pages of a map that have been looked at count as the memory of the process until the system takes them back: after
    one look at all images a map of 20 GB has 20 GB resident where there are as many. A file that is cut off under a map
    kills the process; here it is an error.

    Args:
        path: of the file.
        start: byte at which the first row begins.
        strides: bytes from a row to the next, and within a row from element to element along each of its axes.
        shape: of the whole.
        dtype: as stored, in any byte order.
    """

    def __init__(
        self, path: Path, start: int, strides: tuple[int, ...], shape: tuple[int, ...], dtype: np.dtype[np.generic]
    ) -> None:
        super().__init__(shape, dtype.newbyteorder("="))
        self.path, self.start, self.strides, self.stored = path, start, strides, dtype
        self._row = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize  # bytes of a row

    def read(self, rows: Rows) -> Array:
        """In the order of the file, neighbours at once; see `Lazy.read`.

        Raises:
            ValueError: the file ends too early.
            OSError: it cannot be read.
        """
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        with self.path.open("rb", buffering=0) as file:
            for places in self._runs(rows):
                found[places] = self._neighbours(file, int(rows[places[0]]), len(places))
        return found

    def _runs(self, rows: Rows) -> list[Rows]:
        """Places in ``rows`` of rows that lie one after the other in the file."""
        order = np.argsort(rows, kind="stable")
        most = max(1, CHUNK_BYTES // max(1, self._row)) if self.strides[0] == self._row else 1
        ends = np.flatnonzero(np.diff(rows[order]) != 1) + 1
        runs = np.split(order, ends) if len(rows) else []
        return [run[i : i + most] for run in runs for i in range(0, len(run), most)]

    def _neighbours(self, file: io.FileIO, first: int, count: int) -> Array:
        buffer = bytearray(count * self._row)
        left = memoryview(buffer)
        file.seek(self.start + first * self.strides[0])
        while left:
            if not (got := file.readinto(left)):
                raise ValueError(f"{self.path.name} ends before its row {first + count - 1}; get the file again")
            left = left[got:]
        return np.ndarray((count, *self.shape[1:]), self.stored, buffer, strides=(self._row, *self.strides[1:]))


class IndexedArray(LazyArray):
    """Some rows of an array that stays where it is.

    Args:
        array: ``(N, ...)``, of any kind.
        rows: ``(n,)``.
    """

    def __init__(self, array: Array, rows: Rows) -> None:
        super().__init__((len(rows), *array.shape[1:]), array.dtype)
        self.array, self.rows = array, rows

    def read(self, rows: Rows) -> Array:
        """See `Lazy.read`."""
        return np.ascontiguousarray(self.array[self.rows[rows]])


class ConcatArray(LazyArray):
    """Several arrays one after the other, each staying where it is.

    Args:
        parts: ``(N_i, ...)`` each, of any kind, of one dtype.
    """

    def __init__(self, parts: Sequence[Array]) -> None:
        self.ends = np.cumsum([len(part) for part in parts])
        super().__init__((int(self.ends[-1]), *parts[0].shape[1:]), parts[0].dtype)
        self.parts = list(parts)

    def read(self, rows: Rows) -> Array:
        """See `Lazy.read`."""
        found, of = np.empty((len(rows), *self.shape[1:]), self.dtype), np.searchsorted(self.ends, rows, side="right")
        for number, part in enumerate(self.parts):
            places = np.flatnonzero(of == number)
            if len(places):
                found[places] = part[rows[places] - (self.ends[number] - len(part))]
        return found


def from_memmap(array: Array) -> Array:
    """A memory-mapped array, or a view of one, as `FileArray`; any other as it is.

    So is a map that differs from its file (``mode="c"``), that of a file without a name, and one whose images do not
    lie in one piece each (Fortran order, a part cut out of every image): its pages count as memory when looked at.

    Args:
        array: ``(N, ...)``.
    """
    if (root := _root(array)) is None or root.mode == "c" or root.filename is None or not _is_dense(array):
        return array
    start = int(root.offset) + array.__array_interface__["data"][0] - root.__array_interface__["data"][0]
    path = Path(os.fspath(root.filename))
    return cast(Array, FileArray(path, start, array.strides, array.shape, array.dtype)) if path.is_file() else array


def take(images: Array, rows: Rows) -> Array:
    """``images[rows]``, without reading an array that is not in memory."""
    if isinstance(images, IndexedArray):
        return cast(Array, IndexedArray(images.array, images.rows[rows]))
    return cast(Array, IndexedArray(images, rows)) if is_lazy(images) else images[rows]


def concatenate(parts: Sequence[Array]) -> Array:
    """Arrays ``(N_i, ...)`` one after the other, without reading any that is not in memory."""
    return cast(Array, ConcatArray(parts)) if any(map(is_lazy, parts)) else np.concatenate(list(parts))


def is_lazy(array: Array) -> bool:
    """Whether an array is not in memory."""
    return isinstance(array, LazyArray) or _root(array) is not None


def _root(array: Array) -> np.memmap | None:
    """The map that an array is a view of."""
    part: object = array
    while isinstance(part, np.ndarray):
        if isinstance(part, np.memmap) and isinstance(part.base, mmap.mmap):
            return part
        part = part.base
    return None


def _is_dense(array: Array) -> bool:
    """Whether the bytes of a row are one piece, whatever the order of its axes."""
    expected = array.itemsize
    for stride, count in sorted(zip(array.strides[1:], array.shape[1:], strict=True)):
        if count > 1:
            if stride != expected:
                return False
            expected *= count
    return array.size > 0
