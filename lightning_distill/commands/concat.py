"""``lightning-distill concat``: several set files as one."""

from __future__ import annotations

from pathlib import Path

import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from rich.console import Console

from lightning_distill.sets.card import UNCHANGED, make_card, privacy_warning, strictest_warning
from lightning_distill.sets.merge import merge_sets
from lightning_distill.sets.storage import check_writable, read_set, save_set


def concat(sets: list[str], out: str = "concat", lr: float | None = None) -> Path:
    """Put set files of the same shape, classes and pixel type together: ``lightning-distill concat A B --out both``.

    Pixels stay as they are; mean and std are those of the sets' data together, weighted by images (`join.join`). The
    card names every source by method and sha256 and has the strongest of their warnings.

    Args:
        sets: each a ``set.safetensors`` or its folder; at least two.
        out: folder for ``set.safetensors`` and ``card.json``.
        lr: learning rate to train with, where the sets' learned rates differ.

    Returns:
        The path of ``set.safetensors``.

    Raises:
        FileNotFoundError: one of the sets is not there.
        ValueError: fewer than two sets, sets that do not belong together, rates that differ.
        OSError: the folder cannot be written.
    """
    if len(sets) < 2:
        raise ValueError(f"{len(sets)} set to put together; give at least two: concat A B --out both")
    if Path(out).resolve() in {(p if p.is_dir() else p.parent).resolve() for p in map(Path, sets)}:
        raise ValueError(f"--out {out} holds one of the sets; choose another folder")
    parts, cards = zip(*map(read_set, sets), strict=True)
    both = merge_sets(parts, lr)
    check_writable(out)
    sources = [
        {"data": part.spec.name, "images": len(part.labels)}
        | {key: card.get(key) for key in ("method", "start", "warning", "sha256")}
        for part, card in zip(parts, cards, strict=True)
    ]
    learned = [name for name, found in (("soft_labels", both.soft_labels), ("lr", both.lr)) if found is not None]
    strong = strictest_warning(cards)
    start = str(strong.get("start", "unknown"))
    method = " + ".join(str(card.get("method", "set")) for card in cards)
    card = make_card(method, {"lr": lr}, {}, start, 0, learned)
    card |= {"warning": str(strong.get("warning") or privacy_warning(start)), "sources": sources}
    path = save_set(out, both, card)
    if start == UNCHANGED:
        rank_zero_warn(f"REAL IMAGES in {path}: {card['warning']}")
    counts = torch.bincount(both.labels, minlength=len(both.spec.balance_groups)).tolist()
    named = ", ".join(f"{name} {n}" for name, n in zip(both.spec.balance_groups, counts, strict=True))
    Console().print(f"{len(both.labels)} images of {len(parts)} sets ({named}): {path}", soft_wrap=True)
    return path
