"""Schedule of trajectory matching: the window of start epochs, the student's batches, and initial soft labels."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lightning_distill.distillers.mtt.experts import ExpertFiles

#: Logit of the true label for an image that no expert classifies correctly.
HARD_LABEL_LOGIT = 5.0


def validate_window(options: Mapping[str, int | None]) -> None:
    """Raise a ValueError for invalid steps, epochs or window of start epochs."""
    for name in ("syn_steps", "expert_epochs", "max_start", "batch_syn"):
        value = options[name]
        if value is not None and value < 1:
            raise ValueError(f"{name}={value}; it must be at least 1")
    low, high, begin = options["min_start"] or 0, options["max_start"] or 0, options["max_start_initial"]
    if not 0 <= low < high:
        raise ValueError(f"min_start={low}, max_start={high}; start epochs are drawn from [min_start, max_start)")
    if begin is not None and not low < begin <= high:
        raise ValueError(f"max_start_initial={begin} must lie above min_start={low} and not above max_start={high}")
    if begin is not None and (options["grow_steps"] or 0) < 1:
        raise ValueError(
            f"max_start_initial={begin} needs grow_steps, the steps after which the window reaches max_start"
        )


def window_end(step: int, max_start: int, max_start_initial: int | None, grow_steps: int) -> int:
    """Return the end of the window of start epochs at a step; it grows up to ``max_start`` (DATM).

    >>> [window_end(step, 20, 10, 100) for step in (0, 50, 100, 500)], window_end(0, 20, None, 0)
    ([10, 15, 20, 20], 20)
    """
    if max_start_initial is None:
        return max_start
    return min(max_start, max_start_initial + (max_start - max_start_initial) * step // grow_steps)


def draw_batches(images: int, size: int, steps: int) -> list[Tensor]:
    """Return row indices of ``steps`` batches, from shuffled passes cut into batches of ``size``.

    The last batch of a pass may be smaller. The order is drawn from torch's current random stream.
    """
    batches: list[Tensor] = []
    while len(batches) < steps:
        batches += torch.randperm(images).split(size)
    return batches[:steps]


@torch.no_grad()
def initial_soft_label_logits(experts: ExpertFiles, network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Return initial logits of soft labels: for each image the mean over the experts that classify it correctly (DATM).

    Args:
        experts: Experts, used after their last epoch.
        network: Network of the experts' architecture; its weights are overwritten.
        images: Normalised images ``(N, C, H, W)``.
        targets: Labels ``(N,)``, or 0/1 rows ``(N, K)`` of multi-label data; they initialise an image that no expert
            classifies correctly (in all its labels).

    Returns:
        Logits ``(N, K)``, float32.

    Reference:
        Guo et al.: Towards Lossless Dataset Distillation via Difficulty-Aligned Trajectory Matching, ICLR 2024,
        arXiv 2310.05773, and its code.
    """
    predictions = []
    for expert in range(len(experts)):
        network.load_state_dict(
            experts.parameters_at(expert, experts.last_epoch(expert)), strict=False
        )  # no running statistics
        predictions.append(network(images).float())
    logits = torch.stack(predictions)  # (E, N, K)
    several = targets.ndim == 2
    hits = ((logits > 0) == targets.bool()).all(2) if several else logits.argmax(2) == targets
    right = hits.float()  # (E, N)
    mean = (logits * right[:, :, None]).sum(0) / right.sum(0).clamp(min=1)[:, None]  # (N, K)
    hard = HARD_LABEL_LOGIT * (
        2 * targets - 1 if several else torch.nn.functional.one_hot(targets, logits.shape[2]).float()
    )
    return torch.where((right.sum(0) > 0)[:, None], mean, hard)
