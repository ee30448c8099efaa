from __future__ import annotations

import numpy as np
import pytest

from lightning_distill import ArrayDataModule
from lightning_distill.signals.pixel_sums import PixelSums


def test_sums_of_sites_give_mean_and_std_of_all_pixels(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 3, 8, 8)).astype(np.uint8)
    labels = np.arange(40) % 2
    sites = [ArrayDataModule((images[s], labels[s]), (images, labels)) for s in (slice(10), slice(10, 40))]
    read = [PixelSums.read(PixelSums.compute(site).write(tmp_path / f"{i}.json")) for i, site in enumerate(sites)]
    both = read[0] + read[1]
    np.testing.assert_allclose(both.mean, images.mean((0, 2, 3)))
    np.testing.assert_allclose(both.std, images.std((0, 2, 3)))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"pixels": 0, "total": [1], "squares": [1]}', '{"pixels": 3, "total": ["x"]}']
)
def test_other_files_are_named(text, tmp_path):
    path = tmp_path / "sums.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"sums.json holds no pixel sums"):
        PixelSums.read(path)
    with pytest.raises(FileNotFoundError, match="--pixel_sums"):
        PixelSums.read(tmp_path / "none.json")
    with pytest.raises(ValueError, match="1 and of 3 channels"):
        PixelSums(1, (1.0,), (1.0,)) + PixelSums(1, (1.0,) * 3, (1.0,) * 3)
