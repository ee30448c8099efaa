"""Nearest real images of a synthetic set, in the training split it was made from and in the validation split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from lightning_distill.spec import DataSpec
from lightning_distill.utils.progress import ProgressCallback
from lightning_distill.visualization.style import INK, LINE, MUTED

Array = NDArray[np.generic]
#: Default number of float32 values of real images in memory, 128 MiB.
CHUNK_ELEMENTS = 2**25


@dataclass(frozen=True)
class NearestImages:
    """Nearest image in a pool for each of M images.

    Args:
        rows: Row of the nearest image in the pool, ``(M,)``.
        distances: Distance to it, ``(M,)``: root mean square difference of normalised images over pixels and channels.
        pool: Number of images in the pool.
    """

    rows: NDArray[np.int64]
    distances: NDArray[np.float64]
    pool: int

    @property
    def equal(self) -> int:
        """Number of images that equal an image of the pool in every pixel."""
        return int((self.distances == 0).sum())


def nearest(
    pixels: Tensor,
    pool: Array,
    spec: DataSpec,
    on_chunk: ProgressCallback = lambda: None,
    chunk_elements: int = CHUNK_ELEMENTS,
) -> NearestImages:
    """Search a pool by Euclidean distance of normalised pixels (scikit-learn), in chunks of the pool.

    ``d(a, b) = sqrt(mean((a - b)^2))``, in standard deviations of the training pixels; 0 means equal images.

    Args:
        pixels: Query images ``(M, C, H, W)`` in pixel units.
        pool: Real images ``(N, C, H, W)`` in pixel units; may be a memory-mapped array.
        spec: Description of the data with mean and standard deviation.
        on_chunk: Function that is called after every chunk, `count_chunks` times.
        chunk_elements: Number of values of the pool in memory at a time.

    Returns:
        Row and distance of the nearest image of each query.

    Raises:
        ValueError: If the images and the pool differ in shape.
    """
    if tuple(pixels.shape[1:]) != pool.shape[1:]:
        raise ValueError(f"the set's images are {tuple(pixels.shape[1:])}, the real ones {pool.shape[1:]} (C, H, W)")
    queries = _flat(pixels, spec)  # (M, F)
    best = np.full(len(queries), np.inf)
    rows = np.zeros(len(queries), np.int64)
    step = _step(pool, chunk_elements)
    for start in range(0, len(pool), step):
        part = _flat(torch.from_numpy(np.array(pool[start : start + step])), spec)
        indices = (
            NearestNeighbors(n_neighbors=1, algorithm="brute").fit(part).kneighbors(queries, return_distance=False)
        )
        # the search expands (a - b)^2, which is not exactly zero for a copy; the difference itself is
        difference = queries.astype(np.float64) - part[indices[:, 0]]
        distance = np.sqrt(np.square(difference).mean(1))
        nearer = distance < best
        best[nearer], rows[nearer] = distance[nearer], indices[nearer, 0] + start
        on_chunk()
    return NearestImages(rows, best, len(pool))


def count_chunks(pool: Array, chunk_elements: int = CHUNK_ELEMENTS) -> int:
    """Return the number of chunks in which `nearest` searches a pool."""
    return -(-len(pool) // _step(pool, chunk_elements))


def check_fits(made_from: DataSpec, data: DataSpec) -> None:
    """Check that a set has the image shape and the classes of the data.

    Args:
        made_from: Description of the set.
        data: Description of the data.

    Raises:
        ValueError: If the image shapes or the class names differ.
    """
    if made_from.shape != data.shape:
        raise ValueError(
            f"the set of {made_from.name} has images {made_from.shape}, {data.name} has {data.shape} (C, H, W); "
            "give the data that the set was made from"
        )
    if made_from.class_names != data.class_names:
        ours, theirs = ", ".join(made_from.class_names), ", ".join(data.class_names)
        raise ValueError(
            f"the set's classes are {ours}; those of {data.name} are {theirs}; give the data that the set was made from"
        )


def neighbour_picture(
    pixels: Tensor,
    labels: Tensor,
    spec: DataSpec,
    pools: Sequence[tuple[str, Array, NearestImages]],
    columns: int = 10,
    cell: int = 88,
) -> Image.Image:
    """Draw a band for each class: images of the set, and below each its nearest image of every pool with the distance.

    Args:
        pixels: Images of the set, ``(M, C, H, W)`` in pixel units.
        labels: Class of each image, ``(M,)``.
        spec: Pixel range and class names.
        pools: Name of each pool, its images in pixel units, and the result of `nearest`.
        columns: Maximum number of images of a class.
        cell: Height of an image in the picture, in pixels.
    """
    bands = neighbour_bands(pixels, labels, spec, pools, columns, cell)
    height = bands[0].height
    picture = Image.new("RGB", (bands[0].width, height * len(bands)), "white")
    for place, band in enumerate(bands):
        picture.paste(band, (0, place * height))
        if place:
            ImageDraw.Draw(picture).line([(0, place * height), (picture.width, place * height)], fill=LINE, width=2)
    return picture


def neighbour_bands(
    pixels: Tensor,
    labels: Tensor,
    spec: DataSpec,
    pools: Sequence[tuple[str, Array, NearestImages]],
    columns: int = 10,
    cell: int = 88,
) -> list[Image.Image]:
    """Draw the bands of `neighbour_picture` as separate pictures of equal size, without classes that have no images."""
    counts = torch.bincount(labels, minlength=len(spec.balance_groups))
    shown, times = min(columns, int(counts.max())), max(1, cell // pixels.shape[2])
    height, width = times * pixels.shape[2], times * pixels.shape[3]
    font, small = ImageFont.load_default(20), ImageFont.load_default(18)
    titles = ["in the set", *(f"nearest in {name}" for name, _, _ in pools)]
    names = {label: _shorten(name, 300) for label, name in enumerate(spec.balance_groups) if counts[label]}
    margin = 24 + int(max(font.getlength(text) for text in (*names.values(), *titles)))
    gap, line, head, step = 10, 28, 42, max(width, 46) + 10
    tops = [head, *(head + height + gap + i * (height + line) for i in range(len(pools)))]
    bands = []
    for label, name in names.items():
        band = Image.new(
            "RGB", (margin + shown * step, head + height + gap + len(pools) * (height + line) + gap), "white"
        )
        pen = ImageDraw.Draw(band)
        pen.text((8, 12), name, fill=INK, font=font)
        for title, y in zip(titles, tops, strict=True):
            pen.text((8, y + height // 2), title, fill=MUTED, font=small, anchor="lm")
        for column, row in enumerate(torch.nonzero(labels == label).flatten().tolist()[:shown]):
            left = margin + column * step
            band.paste(tile(pixels[row], spec, times), (left, tops[0]))
            for (_, pool, result), y in zip(pools, tops[1:], strict=True):
                real = torch.from_numpy(np.array(pool[int(result.rows[row])]))
                band.paste(tile(real, spec, times), (left, y))
                distance = f"{result.distances[row]:.2f}"
                pen.text((left + width // 2, y + height + 3), distance, fill=INK, font=small, anchor="ma")
        bands.append(band)
    return bands


def _flat(pixels: Tensor, spec: DataSpec) -> NDArray[np.float32]:
    return spec.normalize(pixels).flatten(1).numpy()


def _step(pool: Array, at_once: int) -> int:
    return max(1, at_once // int(np.prod(pool.shape[1:])))


def tile(pixels: Tensor, spec: DataSpec, times: int) -> Image.Image:
    """Enlarge one image ``(C, H, W)`` by an integer factor, in colour if it has three channels, else in grey."""
    channels = pixels if pixels.shape[0] == 3 else pixels[:1].expand(3, -1, -1)
    unit = ((channels.float() - spec.min_value) / max(spec.max_value - spec.min_value, 1e-8)).clamp(0, 1)
    array = (unit * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return Image.fromarray(array.repeat(times, 0).repeat(times, 1))


def _shorten(name: str, width: int) -> str:
    """Shorten a name to a width in pixels."""
    font = ImageFont.load_default(20)
    if font.getlength(name) <= width:
        return name
    while name and font.getlength(f"{name} ...") > width:
        name = name[:-1]
    return f"{name.rstrip()} ..."
