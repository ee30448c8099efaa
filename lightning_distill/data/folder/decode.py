"""Files to one array, image by image: in memory, or written once to a cache and mapped from there."""

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
from lightning_distill.data.folder.resize import Color, Fit, PhotometricCheck, resize_to_square
from lightning_distill.data.readers import ReadOptions, UnreadableFile, read_image
from lightning_distill.data.readers.dicom import patient_of
from lightning_distill.sets.storage import check_writable, write_files_atomically

OnError = Literal["error", "skip"]
_VERSION = 3  # of what the cache holds; another number reads nothing of the older ones
_FEW = 200  # so many files are read without a progress bar
_UNDONE, _GIVEN_UP = ".images-", 24 * 3600  # an array that is being written; after so many seconds nobody does any more
_File = tuple[str, str | None]  # below the root: an image, and the mask of a volume


@dataclass(frozen=True)
class DecodeOptions:
    """What is done to every file between disk and array.

    Args:
        read: what the readers are asked for.
        size: height and width in pixels; ``None`` demands that all files have one size.
        fit: how a file that is not square becomes so.
        color: ``grey`` and ``rgb`` bring all files to it, ``keep`` demands that they are alike.
        mixed_photometric: accept files that are stored inverted (MONOCHROME1) beside others.
        on_error: whether a damaged file ends the reading or is left out.
        patients: read which DICOM files are of one patient.
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
    """What came of the files.

    Args:
        images: ``(N, C, H, W)`` uint8, or float32 in [0, 1].
        files: ``(N,)`` the number of the file that each image is of.
        patients: ``(N,)`` a number that images of one patient share, where that was asked for.
        scale: what the values stand for.
        skipped: the numbers of damaged files that were left out.
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
    """Read files one by one; only one of them, and without a cache the array, are in memory at a time.

    Args:
        root: folder of the files.
        paths: below the root, in the order of the array.
        options: see `DecodeOptions`.
        cache: folder for the array and a JSON file beside it, made if absent. They are named by a digest of paths,
            sizes, times of change and options, so other files or options never get an array that is not theirs.
        masks: below the root, one a file, for ``frames="mask"``.

    Raises:
        ValueError: a damaged file, files that do not fit each other, none that could be read.
        OSError: the disk is full, or a file cannot be read, or the cache not written; of a cache that holds the array
            already nothing is written.
    """
    files = list(zip(paths, masks or [None] * len(paths), strict=True))
    if cache is None:
        memory = io.BytesIO()
        about = _write(memory, "", root, files, options)
        return _decoded(_view(memory), about, len(paths))
    key = _digest(root, files, options)
    array, note = cache / f"images-{key[:16]}.npy", cache / f"images-{key[:16]}.json"
    if (kept := _kept(array, note, key)) is None:
        check_writable(cache)
        about = _fill(array, note, key, root, files, options)
        kept = np.load(array, mmap_mode="r", allow_pickle=False), about
    return _decoded(*kept, len(paths))


class _Note(TypedDict):
    """What stands in the JSON file beside an array: no file name, no header value."""

    key: str
    scale: str
    files: list[int]
    skipped: list[int]
    patients: list[int] | None


def _write(array: IO[bytes], key: str, root: Path, given: Sequence[_File], options: DecodeOptions) -> _Note:
    """Write the images one after the other, as npy, and tell what was written."""
    alike = PhotometricCheck(options.mixed_photometric)
    files: list[int] = []
    skipped: list[int] = []
    patients: list[int] = []
    numbers: dict[int, int] = {}
    salt = secrets.token_bytes(32)  # made here, kept nowhere: what remains of an identifier is a running number
    shape: tuple[int, ...] = ()
    console = Console(stderr=True)
    quiet = len(given) < _FEW or not console.is_terminal
    progress = track(given, "reading images", console=console, transient=True, disable=quiet)
    for number, (path, mask) in enumerate(progress):
        try:
            name = path.encode("utf-8", "backslashreplace").decode()  # file systems hold names that no log can
            picture = read_image(root / path, options.read, name, None if mask is None else root / mask)
            patient = patient_of(root / path, salt, name) if options.patients else 0
        except UnreadableFile as error:
            if options.on_error == "error":
                raise ValueError(f"{error}; on_error='skip' leaves such files out") from None
            skipped.append(number)
            continue
        ready = resize_to_square(picture, options.size, options.fit, options.color, name)  # (frames, C, H, W)
        alike.check(ready, name)
        if not files:
            shape = ready.pixels.shape[1:]
            array.write(_header(0, shape, ready.pixels.dtype))
        array.write(ready.pixels.tobytes())
        files += [number] * len(ready.pixels)
        patients += [numbers.setdefault(patient, len(numbers))] * len(ready.pixels)
    if alike.first is None:
        raise ValueError(f"none of the {len(given)} files could be read; look at one with on_error='error'")
    array.seek(0)
    array.write(_header(len(files), shape, alike.first.pixels.dtype))
    grouped = patients if options.patients else None
    return {"key": key, "scale": alike.first.scale, "files": files, "skipped": skipped, "patients": grouped}


def _header(count: int, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> bytes:
    """The beginning of an npy file; numpy leaves room in it, so that its length does not depend on the count."""
    header = io.BytesIO()
    about = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (count, *shape)}
    np.lib.format.write_array_header_1_0(header, about)
    return header.getvalue()


def _view(memory: io.BytesIO) -> Array:
    """The array of an npy file in memory, not copied."""
    memory.seek(0)
    np.lib.format.read_magic(memory)
    shape, _, dtype = np.lib.format.read_array_header_1_0(memory)
    return np.frombuffer(memory.getbuffer(), dtype, offset=memory.tell()).reshape(shape)


def _fill(array: Path, note: Path, key: str, root: Path, files: Sequence[_File], options: DecodeOptions) -> _Note:
    """Write array and note beside their places and rename them, the note last: it says that the array is whole."""
    _clear(array.parent)
    temporary = tempfile.NamedTemporaryFile(dir=array.parent, prefix=_UNDONE, delete=False)  # noqa: SIM115
    try:
        with temporary:
            about = _write(temporary, key, root, files, options)
        os.replace(temporary.name, array)
    except BaseException:
        Path(temporary.name).unlink(missing_ok=True)
        raise
    write_files_atomically({note: json.dumps(about).encode()})
    return about


def _clear(cache: Path) -> None:
    """Remove what killed runs have left: images that nobody will read, as large as the data."""
    for left in cache.glob(f"{_UNDONE}*"):
        with suppress(FileNotFoundError):  # another process was first
            if time.time() - left.stat().st_mtime > _GIVEN_UP:
                left.unlink()


def _kept(array: Path, note: Path, key: str) -> tuple[Array, _Note] | None:
    """What an earlier run has written; none where it is not whole, as when it was cut short by being copied."""
    try:
        about = json.loads(note.read_text())
        images = np.load(array, mmap_mode="r", allow_pickle=False)
    except (FileNotFoundError, NotADirectoryError, EOFError, ValueError):
        return None
    if not (isinstance(about, dict) and about.get("key") == key and about.keys() >= _Note.__annotations__.keys()):
        return None
    return (images, cast(_Note, about)) if len(images) == len(about["files"]) else None


def _decoded(images: Array, about: _Note, count: int) -> DecodedFolder:
    if skipped := about["skipped"]:  # their names may be those of patients, and warnings go into logs
        rank_zero_warn(f"{len(skipped)} of {count} files cannot be read and are left out; `skipped` lists them")
    patients = None if about["patients"] is None else np.array(about["patients"], np.int64)
    return DecodedFolder(images, np.array(about["files"], np.int64), patients, about["scale"], skipped)


def _digest(root: Path, files: Sequence[_File], options: DecodeOptions) -> str:
    sha = hashlib.sha256(json.dumps([_VERSION, asdict(options)]).encode())
    for path in (path for file in files for path in file if path is not None):
        try:
            stat = (root / path).stat()
            sha.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
        except OSError:  # absent or closed: reading says so
            sha.update(f"{path}\0absent\n".encode("utf-8", "surrogateescape"))
    return sha.hexdigest()
