"""Recognise folder and file names: splits, masks, containers of images, folders of patients."""

from __future__ import annotations

import re

from lightning_distill.data.folder.index import SPLIT_NAMES

#: Words that add nothing to the name of a split: ``train_set``, ``TRAIN_images``.
_GENERIC = {
    "set", "sets", "data", "dataset", "image", "images", "img", "imgs", "folder", "split", "files", "input", "inputs",
    "png", "jpg", "jpeg", "dicom", "dcm", "photos", "pictures", "scans", "original", "raw",
}  # fmt: skip
#: Words that name a container of images, or a numbered part of one.
_CONTAINER = _GENERIC - {"split"} | {"part", "parts", "batch", "volume", "shard", "jpegimages", "tr", "ts"}
_MASK = {
    "mask", "masks", "segmentation", "segmentations", "seg", "groundtruth", "truth", "gt", "annotation", "annotations",
    "label", "labels", "superpixels", "contours", "groundtruths", "manual",
}  # fmt: skip
_MASK_DETAIL = _GENERIC | _MASK | {
    "ground", "class", "object", "lung", "lungs", "infection", "lesion", "tumor", "tumour", "binary", "left", "right",
    "roi", "tr", "ts", "st", "nd",
}  # fmt: skip
_CASE = {
    "patient", "patients", "pat", "pid", "case", "subject", "subj", "sub", "study", "series", "session", "ses", "visit",
    "exam", "scan", "id",
}  # fmt: skip
_COLLECTION = {"brats", "tcga", "lidc", "lndb", "upenn"}  # beginnings of patient folders of public collections
_SOURCE = {
    "original", "augmented", "internal", "external", "site", "hospital", "center", "centre", "cohort", "scanner",
}  # fmt: skip
_SPLITS = SPLIT_NAMES | {"tr": "train", "te": "test", "ts": "test"}
_FOLD = {"fold", "cv", "kfold", "folds"}


def words(name: str) -> list[str]:
    """Return the words and numbers of a name in lower case: ``TrainSet_01`` gives ``train``, ``set``, ``01``."""
    return re.findall(r"[^\W\d_]+|\d+", re.sub(r"(?<=[a-z])(?=[A-Z])(?<!Bra(?=TS))", "_", name).lower())


def split_of(name: str) -> str | None:
    """Return the split that a folder name means: ``train`` for ``train_set``, ``0_train`` or ``TRAIN_images``."""
    split, rest = _split_and_rest(name)
    return split if not rest else None


def affixed_split_of(name: str) -> tuple[str, tuple[str, ...]] | None:
    """Return the split in a name and its other words: ``test`` and ``task``, ``x`` for ``Task3_Test_x``."""
    split, rest = _split_and_rest(name)
    return None if split is None else (split, rest)


def _split_and_rest(name: str) -> tuple[str | None, tuple[str, ...]]:
    splits, rest = set[str](), list[str]()
    for word in words(name):
        joined = re.fullmatch(rf"({'|'.join(SPLIT_NAMES)})({'|'.join(_GENERIC)})", word)
        if split := _SPLITS.get(joined[1] if joined else word):
            splits.add(split)
        elif word not in _GENERIC and not word.isdecimal() and len(word) > 1:
            rest.append(word)
    return (splits.pop() if len(splits) == 1 else None), tuple(rest)


def is_mask_folder(name: str) -> bool:
    """Return whether a folder name means masks: ``masks``, ``lung masks``; not ``no_mask``."""
    parts = {word for word in words(name) if not word.isdecimal()}
    numbered_label = parts == {"label"} and len(words(name)) > 1  # classes
    known = _MASK_DETAIL if "seg" in parts else _MASK_DETAIL | SPLIT_NAMES.keys()
    return bool(parts & _MASK) and parts <= known and not numbered_label


def is_container(name: str) -> bool:
    """Return whether a folder name means a container of images: ``images``, ``jpg``, ``imagesTr``."""
    parts = words(name)
    return bool(parts) and all(word in _CONTAINER or word.isdecimal() for word in parts)


def are_parts(names: list[str]) -> bool:
    """Return whether names are numbered parts of one set of images: ``images_001``, ``images_002``."""
    rests = {tuple(word for word in words(name) if not word.isdecimal()) for name in names}
    return len(names) > 1 and len(rests) == 1 and bool(set(rests.pop()) & _CONTAINER)


def are_folds(names: list[str]) -> bool:
    """Return whether names are those of folds of a cross-validation."""
    return bool(names) and all(set(words(name)) & _FOLD and _numbered(name, _FOLD) for name in names)


def are_cases(names: list[str]) -> bool:
    """Return whether names are those of patients, e.g. ``patient001`` or ``BraTS20_Training_001``."""
    return len(names) > 1 and all(
        _numbered(name, _CASE) or (words(name)[:1] and words(name)[0] in _COLLECTION and words(name)[-1].isdecimal())
        for name in names
    )


def are_sources(names: list[str]) -> bool:
    """Return whether names are numbers, magnifications or sources of images: ``8863``, ``40X``, ``external``."""
    return len(names) > 1 and all(
        name.isdecimal() or re.fullmatch(r"\d+x", name.lower()) or set(words(name)) & _SOURCE for name in names
    )


def _numbered(name: str, known: set[str]) -> bool:
    parts = words(name)
    letters = [word for word in parts if not word.isdecimal()]
    return bool(letters) and len(letters) < len(parts) and set(letters) <= known
