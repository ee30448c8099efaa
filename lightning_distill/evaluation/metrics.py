"""Scores of one student on real data, through torchmetrics."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC, MulticlassStatScores


class StudentMetrics(MetricCollection):
    """Accuracy, balanced accuracy and macro one-vs-rest AUROC of single-label predictions.

    A class that is absent from the targets has no recall and no AUROC: it is left out of both means and named in
    ``absent``. An AUROC below one half stays there.

    Args:
        num_classes: K.
        sync: whether ``scores`` counts what all ranks have seen; false where each rank has other students.
    """

    def __init__(self, num_classes: int, sync: bool = True) -> None:
        super().__init__(
            {
                "acc": MulticlassAccuracy(num_classes, average="micro", sync_on_compute=sync),
                "auroc": MulticlassAUROC(num_classes, average=None, sync_on_compute=sync),
                "counts": MulticlassStatScores(num_classes, average=None, sync_on_compute=sync),
            },
            compute_groups=False,
        )
        self.absent: list[int] = []

    def scores(self) -> dict[str, float]:
        """``acc``, ``balanced_acc`` and ``auroc`` of everything seen, as fractions.

        ``auroc`` is NaN where the targets hold one class only.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="No (positive|negative) samples")
            values: dict[str, Tensor] = self.compute()
        true_positives, support = values["counts"][:, 0].double(), values["counts"][:, 4].double()  # (K,), (K,)
        present = support > 0
        self.absent = torch.nonzero(~present).flatten().tolist()
        auroc = values["auroc"].double()[present].mean() if present.sum() > 1 else torch.tensor(torch.nan)
        return {
            "acc": float(values["acc"]),
            "balanced_acc": float((true_positives[present] / support[present]).mean()),
            "auroc": float(auroc),
        }
