"""Picture of the images of a set that resemble a training image most, each above that image."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.utils import make_grid

from lightning_distill.audit.resemblance import resemblance
from lightning_distill.leakage.members import Members
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.utils.atomic_files import write_files_atomically

#: Number of pairs, and height of an image in pixels.
PAIRS, CELL = 10, 84


def save_closest_pairs(path: Path, made: LabeledSet, members: Members) -> list[float]:
    """Draw the pairs with the highest correlation: images of the set in the upper row, real ones in the lower row.

    The picture shows real images. It stays in the folder of the audit.

    Args:
        path: PNG file to write.
        made: The set.
        members: Training images.

    Returns:
        Correlation of each pair, in decreasing order.
    """
    pixels, spec = made.decode().pixels.float(), members.spec
    found = resemblance(pixels, members.images, spec)
    order = np.argsort(-found.correlation, kind="stable")[:PAIRS]
    real = torch.from_numpy(np.ascontiguousarray(members.images[found.rows[order]])).float()
    both = torch.cat([pixels[torch.from_numpy(order)], real])
    shown = both[:, :3] if both.shape[1] == 3 else both[:, :1].expand(-1, 3, -1, -1)
    unit = ((shown - spec.min_value) / max(spec.max_value - spec.min_value, 1e-8)).clamp(0, 1)
    times = max(1, CELL // unit.shape[2])
    grid = make_grid(
        unit.repeat_interleave(times, 2).repeat_interleave(times, 3), nrow=len(order), padding=2, pad_value=1.0
    )
    content = io.BytesIO()
    Image.fromarray((grid.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)).save(content, "PNG")
    write_files_atomically({path: content.getvalue()})
    return [float(value) for value in found.correlation[order]]
