"""Lazy arrays: rows are read from disk on access and are not kept in memory."""

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
#: Maximum bytes of adjacent rows per read call; at least one row is read.
CHUNK_BYTES = 1 << 22


class LazyArray(ABC):
    """Base class of arrays ``(N, ...)`` that read ``[row]``, ``[slice]`` and ``[rows]`` into new contiguous memory.

    Args:
        shape: Shape of the array.
        dtype: Dtype in native byte order.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> None:
        self.shape, self.dtype, self.ndim = shape, dtype, len(shape)
        self.nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize

    @abstractmethod
    def read(self, rows: Rows) -> Array:
        """Read rows ``(n,)`` between 0 and N - 1, in any order and with repetitions, as ``(n, ...)``."""

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int | np.integer | slice | NDArray[np.integer] | Sequence[int]) -> Array:
        if isinstance(index, slice):
            return self.read(np.arange(*index.indices(len(self)), dtype=np.int64))
        rows = np.asarray(index)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64)
        if rows.size and not -len(self) <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"rows {rows.min()} to {rows.max()} are out of range for an array of {len(self)} rows")
        read = self.read(rows.reshape(-1) % max(1, len(self)))
        return read if rows.ndim else cast(Array, read[0])

    def __array__(self, dtype: np.dtype[np.generic] | None = None, copy: bool | None = None) -> Array:
        return np.asarray(self[:], dtype)


class FileArray(LazyArray):
    """Array in a file, read with ``read`` calls instead of a memory map.

    Touched pages of a memory map count as resident memory of the process until the system reclaims them: one pass over
    a map of 20 GB can make 20 GB resident. A truncated file kills a process that maps it; here it raises an error.

    Args:
        path: Path of the file.
        start: Byte offset of the first row.
        strides: Strides in bytes along each axis.
        shape: Shape of the array.
        dtype: Stored dtype, in any byte order.
    """

    def __init__(
        self, path: Path, start: int, strides: tuple[int, ...], shape: tuple[int, ...], dtype: np.dtype[np.generic]
    ) -> None:
        super().__init__(shape, dtype.newbyteorder("="))
        self.path, self.start, self.strides, self.stored = path, start, strides, dtype
        self._row = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize  # bytes of a row

    def read(self, rows: Rows) -> Array:
        """Read rows in file order, adjacent rows in one call; see `LazyArray.read`.

        Raises:
            ValueError: The file is truncated.
            OSError: The file cannot be read.
        """
        result = np.empty((len(rows), *self.shape[1:]), self.dtype)
        with self.path.open("rb", buffering=0) as file:
            for positions in self._runs(rows):
                result[positions] = self._neighbours(file, int(rows[positions[0]]), len(positions))
        return result

    def _runs(self, rows: Rows) -> list[Rows]:
        """Positions in ``rows`` grouped into runs of adjacent rows of the file."""
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
                raise ValueError(f"{self.path.name} is truncated before row {first + count - 1}; obtain the file again")
            left = left[got:]
        return np.ndarray((count, *self.shape[1:]), self.stored, buffer, strides=(self._row, *self.strides[1:]))


class IndexedArray(LazyArray):
    """Selected rows of another array, read on access.

    Args:
        array: Array ``(N, ...)`` in memory or lazy.
        rows: Indices ``(n,)``.
    """

    def __init__(self, array: Array, rows: Rows) -> None:
        super().__init__((len(rows), *array.shape[1:]), array.dtype)
        self.array, self.rows = array, rows

    def read(self, rows: Rows) -> Array:
        """Read rows, see `LazyArray.read`."""
        return np.ascontiguousarray(self.array[self.rows[rows]])


class ConcatArray(LazyArray):
    """Concatenation of arrays along the first axis, read on access.

    Args:
        parts: Arrays ``(N_i, ...)`` of one dtype, in memory or lazy.
    """

    def __init__(self, parts: Sequence[Array]) -> None:
        self.ends = np.cumsum([len(part) for part in parts])
        super().__init__((int(self.ends[-1]), *parts[0].shape[1:]), parts[0].dtype)
        self.parts = list(parts)

    def read(self, rows: Rows) -> Array:
        """Read rows, see `LazyArray.read`."""
        result, owner = np.empty((len(rows), *self.shape[1:]), self.dtype), np.searchsorted(self.ends, rows, "right")
        for number, part in enumerate(self.parts):
            positions = np.flatnonzero(owner == number)
            if len(positions):
                result[positions] = part[rows[positions] - (self.ends[number] - len(part))]
        return result


def from_memmap(array: Array) -> Array:
    """Convert a memory-mapped array, or a view of one, to `FileArray`; return other arrays unchanged.

    Unchanged are also maps that differ from their file (``mode="c"``), maps of unnamed files, and maps with
    non-contiguous rows (Fortran order, a crop of every image).

    Args:
        array: Array ``(N, ...)``.
    """
    if (root := _root(array)) is None or root.mode == "c" or root.filename is None or not _is_dense(array):
        return array
    start = int(root.offset) + array.__array_interface__["data"][0] - root.__array_interface__["data"][0]
    path = Path(os.fspath(root.filename))
    return cast(Array, FileArray(path, start, array.strides, array.shape, array.dtype)) if path.is_file() else array


def take(images: Array, rows: Rows) -> Array:
    """Select ``images[rows]`` without reading a lazy array."""
    if isinstance(images, IndexedArray):
        return cast(Array, IndexedArray(images.array, images.rows[rows]))
    return cast(Array, IndexedArray(images, rows)) if is_lazy(images) else images[rows]


def concatenate(parts: Sequence[Array]) -> Array:
    """Concatenate arrays ``(N_i, ...)`` without reading lazy ones."""
    return cast(Array, ConcatArray(parts)) if any(map(is_lazy, parts)) else np.concatenate(list(parts))


def is_lazy(array: Array) -> bool:
    """Return True if the array is lazy or memory-mapped."""
    return isinstance(array, LazyArray) or _root(array) is not None


def _root(array: Array) -> np.memmap | None:
    """Find the memory map behind an array or its views."""
    part: object = array
    while isinstance(part, np.ndarray):
        if isinstance(part, np.memmap) and isinstance(part.base, mmap.mmap):
            return part
        part = part.base
    return None


def _is_dense(array: Array) -> bool:
    """Return True if the bytes of each row are contiguous, in any axis order."""
    expected = array.itemsize
    for stride, count in sorted(zip(array.strides[1:], array.shape[1:], strict=True)):
        if count > 1:
            if stride != expected:
                return False
            expected *= count
    return array.size > 0
