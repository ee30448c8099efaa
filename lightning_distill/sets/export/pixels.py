"""Pixels of an export: decoding of sub-images and rounding to 8 bit."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from lightning_distill.sets.arrays import Card, digest, set_to_arrays
from lightning_distill.sets.card import AUDIT
from lightning_distill.sets.export.record import ExportFormat, ExportRecord, PreparedSet
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.spec import DataSpec

#: Card entries of a set with sub-images, see `storage.save_set`.
FORMATION_KEYS = ("formation", "decode")
#: Card key of a set that was changed by its export.
EXPORTED = "exported"


def prepare(data: LabeledSet, card: Card, target: ExportFormat, decode: bool) -> PreparedSet:
    """Bring a set to the form that is exported.

    Where no pixel changes, the card is kept: the export has the digest of the set. Else the card records the digest of
    the set and the rounding under ``exported``, its digest is that of the exported pixels, and an audit is left out,
    since it is bound to the arrays that were audited.

    Args:
        data: Set in its storage dtype.
        card: Card of the set.
        target: Format to export to.
        decode: Whether sub-images are decoded to full size.

    Raises:
        ValueError: The format does not hold the number of channels, or 8 bits do not hold the pixel range.
    """
    spec = data.spec
    if target.channels and spec.shape[0] not in target.channels:
        raise ValueError(
            f"--to {target.name} holds images of {' or '.join(map(str, target.channels))} channels, the set has "
            f"{spec.shape[0]}; use --to npz"
        )
    decoded = decode and data.formation > 1
    stored = set_to_arrays(data.decode() if decoded else data)
    codes, images, rounding = _rounded(stored["images"], spec, target.pixels == "uint8")
    sentences = [f"{data.formation} x {data.formation} sub-images were decoded"] if decoded else []
    sentences += [rounding] if rounding else []
    text = "; ".join(sentences) or "exact"
    record = ExportRecord(target.name, text, 1 if decoded else data.formation, data.lr)
    arrays = {**stored, "images": images}
    if sentences:
        kept = {key: value for key, value in card.items() if not (decoded and key in FORMATION_KEYS) and key != AUDIT}
        card = {**kept, EXPORTED: {"to": target.name, "pixels": text, "from_sha256": card.get("sha256")}, "format": 2}
        card["sha256"] = digest(arrays, card)
    return PreparedSet(codes, arrays, card, record, replace(spec))


def restore(codes: NDArray[np.generic], spec: DataSpec) -> NDArray[np.generic]:
    """Return the pixels of a set from the 8-bit pixels of an export.

    Args:
        codes: Pixels ``(N, C, H, W)`` uint8.
        spec: Specification of the set. Pixels of ``float16`` sets are ``min + code / 255 * (max - min)``.
    """
    if spec.storage_dtype == "uint8":
        return codes
    span = spec.max_value - spec.min_value
    return cast("NDArray[np.generic]", (spec.min_value + codes.astype(np.float64) / 255 * span).astype(np.float16))


def _rounded(
    pixels: NDArray[np.generic], spec: DataSpec, eight_bit: bool
) -> tuple[NDArray[np.generic], NDArray[np.generic], str]:
    """Return the pixels to write, those that are read back, and a sentence on the rounding; empty if it is exact."""
    if spec.storage_dtype == "uint8":
        if pixels.dtype == np.uint8:
            return pixels, pixels, ""
        codes: NDArray[np.generic] = np.clip(np.rint(pixels.astype(np.float64)), 0, 255).astype(np.uint8)
        return codes, codes, "pixels were rounded to integers (error up to 0.5)"
    if not eight_bit:
        exact = pixels.dtype == np.float16
        half = pixels.astype(np.float16)
        return half, half, "" if exact else "pixels were rounded to float16"
    span = spec.max_value - spec.min_value
    if not 0 < span < np.inf:
        raise ValueError(f"8 bits do not hold the pixel range {spec.min_value:g} to {spec.max_value:g}; use --to npz")
    unit = (pixels.astype(np.float64) - spec.min_value) / span
    codes = np.clip(np.rint(unit * 255), 0, 255).astype(np.uint8)
    sentence = (
        f"float pixels were clipped to {spec.min_value:g} to {spec.max_value:g} and rounded to 256 levels (error up to "
        f"{span / 510:.3g})"
    )
    return codes, restore(codes, spec), sentence
