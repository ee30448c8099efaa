"""``GivenFeatures``: feature network of torchmetrics for features that are computed already."""

from __future__ import annotations

from torch import Tensor, nn


class GivenFeatures(nn.Module):
    """Return features unchanged, so that every image is embedded once for all metrics.

    Args:
        num_features: Number of features F.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        """Return features ``(B, F)``."""
        return features
