"""``lightning-distill concat``: merge several set files into one."""

from __future__ import annotations

from pathlib import Path

import torch
from lightning_utilities.core.rank_zero import rank_zero_warn

from lightning_distill.commands._console import plain_console
from lightning_distill.sets.card import SOFT_LABELS, UNCHANGED, make_card, privacy_warning, strictest_warning
from lightning_distill.sets.merge import merge_sets
from lightning_distill.sets.picture_file import write_picture
from lightning_distill.sets.storage import check_writable, read_set, save_set
from lightning_distill.sets.training_images import ENTRY, join_training_images


def concat(sets: list[str], *, out: str = "concat", lr: float | None = None) -> Path:
    """Merge set files into one: ``lightning-distill concat A B --out both``.

    The sets must have the same shape, classes and pixel type. Pixels are kept. Mean and std are pooled over the data
    of all sets, weighted by their number of images (`sets.merge.merge_sets`). The card lists method and sha256 of every
    source and carries the strictest of their warnings.

    Args:
        sets: Paths of at least two ``set.safetensors`` files or their folders.
        out: Folder for ``set.safetensors`` and ``card.json``.
        lr: Learning rate of the merged set. Required where the learned rates of the sets differ.

    Returns:
        Path of ``set.safetensors``.

    Raises:
        FileNotFoundError: One of the sets does not exist.
        ValueError: There are fewer than two sets, the sets are incompatible, or their learned rates differ.
        OSError: The folder cannot be written.
    """
    if len(sets) < 2:
        raise ValueError(f"concat needs at least two sets, got {len(sets)}: concat A B --out both")
    if Path(out).resolve() in {(p if p.is_dir() else p.parent).resolve() for p in map(Path, sets)}:
        raise ValueError(f"--out {out} holds one of the sets; choose another folder")
    parts, cards = zip(*map(read_set, sets), strict=True)
    both = merge_sets(parts, lr)
    check_writable(out)
    sources = [
        {"data": part.spec.name, "images": len(part.labels)}
        | {key: card.get(key) for key in ("method", "start", "warning", "sha256")}
        | ({"soft_labels": card["soft_labels"]} if "soft_labels" in card else {})
        for part, card in zip(parts, cards, strict=True)
    ]
    learned = [name for name, value in (("soft_labels", both.soft_labels), ("lr", both.lr)) if value is not None]
    strictest = strictest_warning(cards)
    start = str(strictest.get("start", "unknown"))
    method = " + ".join(str(card.get("method", "set")) for card in cards)
    card = make_card(method, {"lr": lr}, {}, start, 0, learned)
    warnings = [str(part.get("warning", "")).partition(SOFT_LABELS) for part in cards]
    soft = dict.fromkeys(prefix + sentence for _, prefix, sentence in warnings if prefix)
    warning = str(strictest.get("warning") or privacy_warning(start)).partition(SOFT_LABELS)[0]
    if known := join_training_images(part.get(ENTRY) for part in cards):
        card[ENTRY] = known
    card |= {"warning": "".join([warning, *soft]), "sources": sources}
    path = save_set(out, both, card)
    write_picture(path.parent, *read_set(path))
    if start == UNCHANGED:
        rank_zero_warn(f"REAL IMAGES in {path}: {card['warning']}")
    counts = torch.bincount(both.labels, minlength=len(both.spec.balance_groups)).tolist()
    summary = ", ".join(f"{name} {n}" for name, n in zip(both.spec.balance_groups, counts, strict=True))
    plain_console().print(f"{len(both.labels)} images of {len(parts)} sets ({summary}): {path}", soft_wrap=True)
    return path
