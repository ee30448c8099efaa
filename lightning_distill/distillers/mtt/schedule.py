"""What a step of trajectory matching draws: the stretch of an expert's way, and the batches of the student's."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lightning_distill.distillers.mtt.experts import ExpertFiles

#: Logit of the label for an image that no expert gets right.
HARD_LABEL_LOGIT = 5.0


def validate_window(options: Mapping[str, int | None]) -> None:
    """Raise a ValueError where steps, epochs or the window of start epochs make no sense."""
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
    """Where the window of start epochs ends at a step: it may grow from ``max_start_initial`` to ``max_start`` (DATM).

    >>> [window_end(step, 20, 10, 100) for step in (0, 50, 100, 500)], window_end(0, 20, None, 0)
    ([10, 15, 20, 20], 20)
    """
    if max_start_initial is None:
        return max_start
    return min(max_start, max_start_initial + (max_start - max_start_initial) * step // grow_steps)


def draw_batches(images: int, size: int, steps: int) -> list[Tensor]:
    """Rows for ``steps`` batches: a shuffled pass cut into batches of ``size`` (the last may be smaller), then another.

    Drawn from torch's current random stream.
    """
    batches: list[Tensor] = []
    while len(batches) < steps:
        batches += torch.randperm(images).split(size)
    return batches[:steps]


@torch.no_grad()
def initial_soft_label_logits(experts: ExpertFiles, network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Logits of soft labels to begin with: for each image the mean over the trained experts that get it right (DATM).

    Args:
        experts: their last epochs are asked.
        network: an untrained one of their architecture; its weights are overwritten.
        images: normalised, ``(N, C, H, W)``.
        targets: labels ``(N,)``, or 0/1 rows ``(N, K)`` of multi-label data; an image that no expert gets right (in
            all its labels) begins with these.

    Returns:
        ``(N, K)``, float32.

    Reference:
        Guo et al.: Towards Lossless Dataset Distillation via Difficulty-Aligned Trajectory Matching, ICLR 2024,
        arXiv 2310.05773, and its code.
    """
    answers = []
    for expert in range(len(experts)):
        network.load_state_dict(
            experts.parameters_at(expert, experts.last_epoch(expert)), strict=False
        )  # no running statistics
        answers.append(network(images).float())
    logits = torch.stack(answers)  # (E, N, K)
    several = targets.ndim == 2
    hits = ((logits > 0) == targets.bool()).all(2) if several else logits.argmax(2) == targets
    right = hits.float()  # (E, N)
    mean = (logits * right[:, :, None]).sum(0) / right.sum(0).clamp(min=1)[:, None]  # (N, K)
    hard = HARD_LABEL_LOGIT * (
        2 * targets - 1 if several else torch.nn.functional.one_hot(targets, logits.shape[2]).float()
    )
    return torch.where((right.sum(0) > 0)[:, None], mean, hard)
