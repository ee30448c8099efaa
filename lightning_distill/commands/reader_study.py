"""``lightning-distill reader-study``: write the page of a study in which people tell synthetic from real images."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from lightning_distill.commands._console import plain_console
from lightning_distill.data import ArrayDataModule
from lightning_distill.evaluation.overlap import check_overlap
from lightning_distill.reader_study.key import KEY, PAGE, Design
from lightning_distill.reader_study.scoring import ALL
from lightning_distill.reader_study.study import build_study, write_study
from lightning_distill.reader_study.summary import power_text
from lightning_distill.sets.card import REDUCED, UNCHANGED
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.names import short_names
from lightning_distill.sets.storage import check_writable, read_set


def reader_study(
    sets: list[str],
    data: ArrayDataModule,
    *,
    out: str = "study",
    design: Design = "yes_no",
    items: int | None = None,
    repeats: int | None = None,
    readers: int = 3,
    practice: int = 6,
    seed: int = 0,
    split: Literal["val", "test"] = "test",
) -> Path:
    """Write a study in which people tell the images of sets from real ones: one offline page, and its key.

    ``study.html`` needs nothing but a browser: readers answer by keys, can go on later, and download a CSV file.
    ``key.json`` holds the truth; keep it away from the readers. ``reader-study score study/*.csv --key study/key.json``
    scores the answers. The page shows real images of the data, and the key names them: keep both under their rules.

    Args:
        sets: Set files or their folders: ``--sets runs/a/best runs/b/best``.
        data: Data that the sets were made from: ``--data MedMNISTDataModule --data.name breastmnist``.
        out: Folder for ``study.html`` and ``key.json``; it must not hold another study.
        design: ``yes_no``: one image at a time, real or synthetic, with a confidence from 1 to 5. ``pairs``: a real
            and a synthetic image of one class side by side.
        items: Number of synthetic images of each set, each with a real image of its class. Default: as many as there
            are, at most 50.
        repeats: Number of trials that are shown twice, for the agreement of readers with themselves.
            Default: 10, or all where there are fewer.
        readers: Number of readers, who choose their code R1, R2, ... on the page.
        practice: Number of practice trials with feedback, which do not count; fewer where images are short.
        seed: Seed of the selection of images.
        split: Split of the real images: ``val`` or ``test``.

    Returns:
        Path of the page.

    Raises:
        FileNotFoundError: A set does not exist.
        FileExistsError: The folder holds a study.
        ValueError: A set does not fit the data, an option is out of range, or there are too few images.
        OSError: The folder cannot be written.
    """
    folder = Path(out)
    if held := [name for name in (PAGE, KEY) if (folder / name).exists()]:
        raise FileExistsError(f"{folder} holds {held[0]} of a study, whose answers need its key; choose another --out")
    check_writable(folder)
    if not sets:
        raise ValueError("a reader study needs a set; give one or more with --sets A B")
    names = [f"set {name}" if name == ALL else name for name in short_names(sets)]
    loaded: dict[str, LabeledSet] = {}
    controls = []
    for name, path in zip(names, sets, strict=True):
        loaded[name], card = read_set(path)
        check_overlap(card, data, split, on_overlap="warn")
        if card.get("start") in (UNCHANGED, REDUCED):
            controls.append(name)
    spec = data.spec
    if split not in data.splits:
        raise ValueError(f"{spec.name} has no {split} split; use --split val, or data with one")
    study = build_study(
        loaded, data.splits[split], spec, split=split, design=design, items=items, repeats=repeats, readers=readers,
        practice=practice, seed=seed,
    )  # fmt: skip
    page, key = write_study(folder, study)
    console = plain_console()
    practised, trials = len(study.page["practice"]), len(study.page["trials"])
    unit = "pairs" if design == "pairs" else "images"
    twice = len(study.page["repeats"])
    console.print(
        f"{trials} {unit} ({study.items} synthetic images of each set: {', '.join(names)}), {twice} of "
        f"them twice, {practised} for practice: {page} ({page.stat().st_size / 1e6:.1f} MB), key: {key}",
        soft_wrap=True, highlight=False,
    )  # fmt: skip
    if practised < practice:
        console.print(
            f"only {practised} of {practice} practice {unit}: no further images; lower --items", soft_wrap=True
        )
    for name in controls:
        console.print(f"{name} holds selected real images: a control, which readers cannot tell apart", soft_wrap=True)
    per_set = study.items * (1 if design == "pairs" else 2)
    console.print(f"for each set: {power_text(per_set, readers)}", soft_wrap=True, highlight=False)
    console.print(
        f"The page shows real images of {spec.name}, and the key names them. Images of patients are patients' data: "
        "keep both under the rules of the data, and the key away from the readers.",
        soft_wrap=True,
    )  # fmt: skip
    return page
