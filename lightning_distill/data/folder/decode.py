"""Decode files to one array, in memory or in a cache that is written once and memory-mapped afterwards."""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Literal, TypedDict, cast

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from lightning_distill.data.checks.arrays import Array
from lightning_distill.data.folder.resize import Color, PhotometricCheck, resize_to_square
from lightning_distill.data.readers import ReadOptions, UnreadableFile, read_image
from lightning_distill.data.readers.dicom import patient_of
from lightning_distill.sets.storage import check_writable, write_files_atomically
from lightning_distill.utils.resize import Fit

OnError = Literal["error", "skip"]
_VERSION = 3  # format version of the cache; caches of other versions are not read
_PROGRESS_BAR_MIN = 200  # smallest number of files with a progress bar
_TEMPORARY, _STALE_SECONDS = ".images-", 24 * 3600  # prefix of unfinished arrays, and age at which they are removed
_File = tuple[str, str | None]  # paths below the root: an image, and the mask of a volume or None


@dataclass(frozen=True)
class DecodeOptions:
    """Options of the path from file to array. Their field names are part of the cache key.

    Args:
        read: Options of the file readers.
        size: Height and width in pixels; ``None`` requires files of equal size.
        fit: Method that makes an image square: ``stretch``, ``crop`` or ``pad``.
        color: Colour conversion: ``grey``, ``rgb``, or ``keep``, which requires files of one kind.
        mixed_photometric: Accept files that are stored inverted (MONOCHROME1) beside others.
        on_error: Handling of damaged files: ``error`` raises, ``skip`` leaves them out.
        patients: Read the patient of each DICOM file.
    """

    read: ReadOptions
    size: int | None = None
    fit: Fit = "stretch"
    color: Color = "keep"
    mixed_photometric: bool = False
    on_error: OnError = "error"
    patients: bool = False


@dataclass(frozen=True)
class DecodedFolder:
    """Images of a folder with their origin.

    Args:
        images: Images ``(N, C, H, W)``, uint8 or float32 in [0, 1].
        files: File number of each image ``(N,)``.
        patients: Patient number of each image ``(N,)``, equal for images of one patient; ``None`` if not read.
        scale: Meaning of the pixel values, for cards.
        skipped: Numbers of the damaged files that were left out.
    """

    images: Array
    files: NDArray[np.int64]
    patients: NDArray[np.int64] | None
    scale: str
    skipped: list[int]


def decode(
    root: Path,
    paths: Sequence[str],
    options: DecodeOptions,
    cache: Path | None = None,
    masks: Sequence[str | None] | None = None,
) -> DecodedFolder:
    """Read files one by one to an array. Memory holds one file, and without a cache also the array.

    Args:
        root: Folder of the files.
        paths: Paths below the root, in the order of the array.
        options: Options of reading, resizing and error handling.
        cache: Folder of the array and of a JSON file with its metadata; created if missing. Their names contain a
            digest of the options and of path, size and modification time of every file, so that other files or
            options use other arrays. If the array exists, nothing is written.
        masks: Path of the mask of each file below the root, for ``frames="mask"``.

    Raises:
        ValueError: A file is damaged, the files have different scales, sizes or kinds, or no file can be read.
        OSError: A file cannot be read, the cache cannot be written, or the disk is full.
    """
    files = list(zip(paths, masks or [None] * len(paths), strict=True))
    if cache is None:
        memory = io.BytesIO()
        metadata = _write(memory, "", root, files, options)
        return _decoded(_array_view(memory), metadata, len(paths))
    key = _cache_key(root, files, options)
    array, json_file = cache / f"images-{key[:16]}.npy", cache / f"images-{key[:16]}.json"
    if (cached := _load_cache(array, json_file, key)) is None:
        check_writable(cache)
        metadata = _write_cache(array, json_file, key, root, files, options)
        cached = np.load(array, mmap_mode="r", allow_pickle=False), metadata
    return _decoded(*cached, len(paths))


class _Metadata(TypedDict):
    """Content of the JSON file beside an array. It contains no file names and no header values."""

    key: str
    scale: str
    files: list[int]
    skipped: list[int]
    patients: list[int] | None


def _write(array: IO[bytes], key: str, root: Path, sources: Sequence[_File], options: DecodeOptions) -> _Metadata:
    """Write the images one by one to an npy file and return its metadata."""
    check = PhotometricCheck(options.mixed_photometric)
    files: list[int] = []
    skipped: list[int] = []
    patients: list[int] = []
    numbers: dict[int, int] = {}
    salt = secrets.token_bytes(32)  # never stored: only running numbers remain of the identifiers
    shape: tuple[int, ...] = ()
    console = Console(stderr=True)
    hide = len(sources) < _PROGRESS_BAR_MIN or not console.is_terminal
    progress = track(sources, "reading images", console=console, transient=True, disable=hide)
    for number, (path, mask) in enumerate(progress):
        try:
            name = path.encode("utf-8", "backslashreplace").decode()  # file names may be invalid UTF-8
            image = read_image(root / path, options.read, name, None if mask is None else root / mask)
            patient = patient_of(root / path, salt, name) if options.patients else 0
        except UnreadableFile as error:
            if options.on_error == "error":
                raise ValueError(f"{error}, or set on_error='skip' to leave such files out") from None
            skipped.append(number)
            continue
        resized = resize_to_square(image, options.size, options.fit, options.color, name)  # (frames, C, H, W)
        check.check(resized, name)
        if not files:
            shape = resized.pixels.shape[1:]
            array.write(_header(0, shape, resized.pixels.dtype))
        array.write(resized.pixels.tobytes())
        files += [number] * len(resized.pixels)
        patients += [numbers.setdefault(patient, len(numbers))] * len(resized.pixels)
    if check.first is None:
        raise ValueError(f"none of the {len(sources)} files can be read; set on_error='error' to see the reason")
    array.seek(0)
    array.write(_header(len(files), shape, check.first.pixels.dtype))
    grouped = patients if options.patients else None
    return {"key": key, "scale": check.first.scale, "files": files, "skipped": skipped, "patients": grouped}


def _header(count: int, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> bytes:
    """Return the header of an npy file. numpy pads it, so its length does not depend on the count."""
    header = io.BytesIO()
    fields = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (count, *shape)}
    np.lib.format.write_array_header_1_0(header, fields)
    return header.getvalue()


def _array_view(memory: io.BytesIO) -> Array:
    """Return the array of an npy file in memory without a copy."""
    memory.seek(0)
    np.lib.format.read_magic(memory)
    shape, _, dtype = np.lib.format.read_array_header_1_0(memory)
    return np.frombuffer(memory.getbuffer(), dtype, offset=memory.tell()).reshape(shape)


def _write_cache(
    array: Path, json_file: Path, key: str, root: Path, files: Sequence[_File], options: DecodeOptions
) -> _Metadata:
    """Write the array and then its metadata, each to a temporary file that is renamed. Metadata mark it as complete."""
    _remove_stale(array.parent)
    temporary = tempfile.NamedTemporaryFile(dir=array.parent, prefix=_TEMPORARY, delete=False)  # noqa: SIM115
    try:
        with temporary:
            metadata = _write(temporary, key, root, files, options)
        os.replace(temporary.name, array)
    except BaseException:
        Path(temporary.name).unlink(missing_ok=True)
        raise
    write_files_atomically({json_file: json.dumps(metadata).encode()})
    return metadata


def _remove_stale(cache: Path) -> None:
    """Remove unfinished arrays of killed runs."""
    for path in cache.glob(f"{_TEMPORARY}*"):
        with suppress(FileNotFoundError):  # another process removed it
            if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                path.unlink()


def _load_cache(array: Path, json_file: Path, key: str) -> tuple[Array, _Metadata] | None:
    """Return the array and metadata of an earlier run, or None if they are missing or incomplete."""
    try:
        metadata = json.loads(json_file.read_text())
        images = np.load(array, mmap_mode="r", allow_pickle=False)
    except (FileNotFoundError, NotADirectoryError, EOFError, ValueError):
        return None
    if not isinstance(metadata, dict) or not metadata.keys() >= _Metadata.__annotations__.keys():
        return None
    complete = metadata["key"] == key and len(images) == len(metadata["files"])
    return (images, cast(_Metadata, metadata)) if complete else None


def _decoded(images: Array, metadata: _Metadata, count: int) -> DecodedFolder:
    if skipped := metadata["skipped"]:  # no file names: they may identify patients, and warnings reach logs
        rank_zero_warn(f"{len(skipped)} of {count} files cannot be read and are left out; `skipped` lists them")
    patients = None if metadata["patients"] is None else np.array(metadata["patients"], np.int64)
    return DecodedFolder(images, np.array(metadata["files"], np.int64), patients, metadata["scale"], skipped)


def _cache_key(root: Path, files: Sequence[_File], options: DecodeOptions) -> str:
    sha = hashlib.sha256(json.dumps([_VERSION, asdict(options)]).encode())
    for path in (path for file in files for path in file if path is not None):
        try:
            stat = (root / path).stat()
            sha.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
        except OSError:  # missing or inaccessible: reading raises the error
            sha.update(f"{path}\0absent\n".encode("utf-8", "surrogateescape"))
    return sha.hexdigest()
