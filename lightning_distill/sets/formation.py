"""Multi-formation: several sub-images in one stored image, decoded by linear interpolation."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

#: Least height and width of a sub-image in pixels.
MIN_CELL = 4
#: Decoder in numpy, written into the cards of sets with sub-images.
NUMPY_DECODER = """\
def rows(n, f):  # (f n, n): row b of sub-image a interpolates the pixels of its cell linearly
    cells = [np.arange(a * n // f, (a + 1) * n // f) for a in range(f)]
    at = np.concatenate([np.clip((np.arange(n) + 0.5) * len(c) / n - 0.5, 0, len(c) - 1) + c[0] for c in cells])
    return np.maximum(0, 1 - abs(at[:, None] - np.arange(n)))
n, c, h, w = images.shape
tiles = (rows(h, f) @ images @ rows(w, f).T).reshape(n, c, f, h, f, w)
decoded = tiles.transpose(0, 2, 4, 1, 3, 5).reshape(-1, c, h, w)
"""


def validate_formation(formation: int, shape: tuple[int, int, int]) -> None:
    """Raise a ValueError for a formation below one, or images ``(C, H, W)`` too small for it."""
    if formation < 1:
        raise ValueError(f"formation={formation}; it must be at least 1 (one sub-image)")
    if formation > 1 and min(shape[1:]) // formation < MIN_CELL:
        largest = max(1, min(shape[1:]) // MIN_CELL)
        raise ValueError(
            f"formation={formation} cuts images of {shape[1]} x {shape[2]} pixels into sub-images of fewer than "
            f"{MIN_CELL} pixels; use formation={largest} or less"
        )


def decode(images: Tensor, formation: int) -> Tensor:
    r"""Cut each image into f x f cells and resize every cell to the full size.

    Cell a of a side of n pixels has the pixels :math:`\lfloor an/f \rfloor` to :math:`\lfloor (a+1)n/f \rfloor - 1`, so
    a side need not be divisible by f. Cells are resized as by
    ``interpolate(mode="bilinear", align_corners=False)``; no pixel of another cell enters. The function is linear, the
    weights of a pixel sum to one, and autocast does not reduce its precision.

    Args:
        images: Stored images ``(N, C, H, W)``, floating point, normalised or in pixel units.
        formation: Number f of sub-images along each side.

    Returns:
        Sub-images ``(N * f * f, C, H, W)``; those of one image follow each other, row by row. The images themselves
        where f is 1.

    Reference:
        Kim et al.: Dataset Condensation via Efficient Synthetic-Data Parameterization (IDC), ICML 2022,
        arXiv 2205.14959, section 4.1.

    Example:
        >>> decode(torch.rand(3, 1, 9, 9), 2).shape
        torch.Size([12, 1, 9, 9])
    """
    if formation == 1:
        return images
    rows, columns = (_block_matrix(size, formation, _linear_weights).to(images) for size in images.shape[2:])
    with torch.autocast(images.device.type, enabled=False):
        large = rows @ images @ columns.T  # (N, C, f H, f W)
    tiles = large.unflatten(3, (formation, -1)).unflatten(2, (formation, -1))  # (N, C, f, H, f, W)
    decoded: Tensor = tiles.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
    return decoded


def encode(images: Tensor, formation: int) -> Tensor:
    """Reduce each image to the size of a cell by area averages, and put f x f of them into one stored image.

    Args:
        images: Images ``(N * f * f, C, H, W)``, floating point; those of one stored image follow each other.
        formation: Number f of sub-images along each side.

    Returns:
        Stored images ``(N, C, H, W)``.

    Example:
        >>> encode(torch.rand(12, 1, 9, 9), 2).shape
        torch.Size([3, 1, 9, 9])
    """
    if formation == 1:
        return images
    rows, columns = (_block_matrix(size, formation, _area_weights).T.to(images) for size in images.shape[2:])
    tiles = images.unflatten(0, (-1, formation, formation)).permute(0, 3, 1, 4, 2, 5)  # (N, C, f, H, f, W)
    with torch.autocast(images.device.type, enabled=False):
        stored: Tensor = rows @ tiles.flatten(4, 5).flatten(2, 3) @ columns.T
    return stored


def reduced(pixels: Tensor, formation: int) -> Tensor:
    """Return images as a set with sub-images would show them: reduced, stored and enlarged again.

    Args:
        pixels: Images ``(B, C, H, W)`` in pixel units.
        formation: Number of sub-images along each side of a stored image.
    """
    pixels = pixels.float()
    if formation == 1:
        return pixels
    cells = formation**2
    padded = torch.cat([pixels, pixels[-1:].expand(-len(pixels) % cells, -1, -1, -1)])
    return decode(encode(padded, formation), formation)[: len(pixels)]


def rows_of_images(soft_labels: Tensor, images: Tensor) -> Tensor:
    """Return the rows of soft labels ``(N * f * f, K)`` that belong to the given images, in the order of the images.

    Args:
        soft_labels: Probabilities of the sub-images, ``(N * f * f, K)``.
        images: A permutation of the N images, int64.
    """
    rows: Tensor = soft_labels.unflatten(0, (len(images), -1))[images].flatten(0, 1)
    return rows


def _block_matrix(size: int, formation: int, weights: Callable[[int, int], Tensor]) -> Tensor:
    """Return a block-diagonal matrix ``(f * size, size)`` of the weights between full-size pixels and cell pixels."""
    starts = [cell * size // formation for cell in range(formation + 1)]
    matrix: Tensor = torch.block_diag(*(weights(size, stop - start) for start, stop in pairwise(starts)))  # type: ignore[no-untyped-call,unused-ignore]
    return matrix


def _linear_weights(size: int, cell: int) -> Tensor:
    """Return weights ``(size, cell)`` of the linear interpolation from ``cell`` pixels to ``size`` pixels."""
    position = ((torch.arange(size) + 0.5) * cell / size - 0.5).clamp(0, cell - 1)
    return (1 - (position[:, None] - torch.arange(cell)).abs()).clamp(min=0)


def _area_weights(size: int, cell: int) -> Tensor:
    """Return weights ``(size, cell)`` of the area averages of ``size`` pixels over ``cell`` equal intervals."""
    edges = torch.arange(cell + 1) * (size / cell)
    pixel = torch.arange(size)[:, None]
    overlap = torch.minimum(edges[1:], pixel + 1.0) - torch.maximum(edges[:-1], pixel.float())
    return overlap.clamp(min=0) * (cell / size)
