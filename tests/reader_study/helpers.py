"""Images and pages of the tests of reader studies."""

from __future__ import annotations

import json

import torch

from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.spec import DataSpec

SPEC = DataSpec("scans", (1, 10, 12), ("benign", "malignant"), (100.0,), (50.0,), task="binary")


def images_of(count, spec=SPEC, seed=0, labels=None):
    """A set of random images with labels 0, 1, 0, 1, ..."""
    random = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, *spec.shape), generator=random, dtype=torch.uint8)
    return LabeledSet(pixels, torch.arange(count) % spec.num_classes if labels is None else labels, spec)


def real_of(count, spec=SPEC, seed=9):
    held = images_of(count, spec, seed)
    return held.pixels.numpy(), held.labels.numpy()


def page_data(folder):
    """Data block of a page."""
    text = (folder / "study.html").read_text()
    return json.loads(text.split('type="application/json">')[1].split("</script>")[0])
