"""Small data and settings of the audit's tests."""

from __future__ import annotations

import numpy as np
import pytest

from lightning_distill import ArrayDataModule


@pytest.fixture
def make_clinic():
    """A factory of data modules with noise images of two classes, two images a patient unless told otherwise."""

    def make(count: int = 120, size: int = 8, per_patient: int = 2, seed: int = 0, **options):
        random = np.random.default_rng(seed)

        def split(number):
            labels = np.arange(number) // 2 % 2
            images = random.integers(0, 160, (number, 1, size, size)) + 60 * labels[:, None, None, None]
            return images.astype(np.uint8), labels

        groups = None
        if per_patient > 1:
            groups = {"train": np.arange(count) // per_patient, "val": 10**6 + np.arange(40) // per_patient}
        return ArrayDataModule(
            split(count), split(40), channels="first", name="clinic", groups=groups, real_per_class=8, **options
        )

    return make


@pytest.fixture
def quick_audit(monkeypatch):
    """Options of a fast audit."""
    from lightning_distill.leakage import audit_run

    monkeypatch.setattr(audit_run, "EMBEDDING_STEPS", 2)
    return {"network": "convnet_w16", "protocol": "tiny", "shadows": 8, "queries": 1, "accelerator": "cpu"}
