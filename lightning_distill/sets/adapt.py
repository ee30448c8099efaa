"""Bringing a set made at one place to the data of another: its classes by a map, its images by resizing."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import cast

import kornia
import torch
import torch.nn.functional as F
from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor

from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.lazy_images import LazyImages
from lightning_distill.spec import FLOAT16_MAX, DataSpec

#: Weights of red, green and blue in grey (ITU-R BT.601), those of kornia's ``rgb_to_grayscale`` and Pillow's mode L.
GREY = (0.299, 0.587, 0.114)


def adapt_set(
    set: LabeledSet, data: DataSpec, map_classes: Mapping[str, str] | None = None, resize: bool = False
) -> LabeledSet:
    """A set as students of other data can use it; a set that fits already comes back as it is.

    Classes are renamed and brought to the data's order; two classes of the set may become one of the data. Images are
    resized (bilinear, antialiased) and turned from grey to colour or back, in pixel units, and clipped and rounded to
    the form in which the set is shipped.

    The set keeps *its own* mean and std: whoever was sent it knows no others. Students see its images as
    ``(pixel - set mean) / set std``, and `exam.examine` shows them the other site's real images by the same two, so
    that a shift of brightness between two sites counts against the set, as it does where a model is used elsewhere.

    Args:
        set: pixels ``(N, C, H, W)``, labels ``(N,)``, learned probabilities ``(N, K)`` or None.
        data: of the real images students are scored on.
        map_classes: the data's class for each class of the set, by names; ``None`` where both have the same names in
            the same order.
        resize: bring images to the data's size and channels.

    Returns:
        The set with the data's shape and class names, ordered by class.

    Raises:
        ValueError: another size, channels or classes than the data's and no leave to change them; a class the map does
            not know, or knows wrongly; channels other than one and three; pixels of another scale.
    """
    spec = set.spec
    if spec.shape != data.shape and not resize:
        raise ValueError(
            f"the set's images are {spec.shape} but {data.name} has {data.shape} (C, H, W); --resize converts them"
        )
    if map_classes is None and spec.class_names != data.class_names:
        ours, theirs = ", ".join(spec.class_names), ", ".join(data.class_names)
        example = json.dumps(dict.fromkeys(spec.class_names[:2], data.class_names[0]), ensure_ascii=False)
        raise ValueError(
            f"the set's classes are {ours}; those of {data.name} are {theirs}; say which is which by --map-classes, "
            f"such as '{example[:-1]}, ...}}'"
        )
    _check_scale(spec, data)
    if spec.multi_label != data.multi_label:
        raise ValueError(f"the set is {spec.task}, {data.name} is {data.task}; both must be multi-label, or none")
    if map_classes is not None:
        set = map_class_names(set, data, map_classes)
    elif spec.combinations != data.combinations:
        numbers = data.group_indices(spec.targets(set.labels))
        set = replace(set, labels=numbers, spec=replace(spec, combinations=data.combinations))
    return resize_set(set, data.shape) if spec.shape != data.shape else set


def adapted_sampler(
    draw: Callable[[int], LabeledSet],
    data: DataSpec,
    map_classes: Mapping[str, str] | None = None,
    resize: bool = False,
) -> Callable[[int], LabeledSet]:
    """`fit_to` for what each student learns from: trained on site A's images, scored on site B's.

    Baselines and all real images of site A are so held against its set, by site A's mean and std like the set itself.
    """
    return lambda student: adapt_set(draw(student), data, map_classes, resize)


def map_class_names(set: LabeledSet, data: DataSpec, map_classes: Mapping[str, str]) -> LabeledSet:
    """The set with the data's classes: ``label' = map(label)``, and the probabilities of merged classes added up.

    Args:
        set: labels ``(N,)``, probabilities ``(N, K)`` or None.
        data: whose class names count.
        map_classes: the data's class for each class of the set.

    Raises:
        ValueError: a class of the set without a partner, a name that is in neither, or multi-label data.
    """
    if set.spec.multi_label:
        raise ValueError("the labels of multi-label sets cannot be renamed; name those of the data as the set does")
    names = set.spec.class_names
    for given, known, whose in ((map_classes.keys(), names, "set"), (map_classes.values(), data.class_names, "data")):
        for name in given:
            _check_known(name, known, whose)
    if missing := [name for name in names if name not in map_classes]:
        raise ValueError(f"the map says nothing of the set's class {', '.join(map(repr, missing))}; map every class")
    partners = torch.tensor([data.class_names.index(map_classes[name]) for name in names])  # (K set,)
    labels = partners[set.labels]
    order = torch.argsort(labels, stable=True)
    soft = None
    if set.soft_labels is not None:
        soft = set.soft_labels.new_zeros(len(labels), data.num_classes).index_add_(1, partners, set.soft_labels)[order]
    present = torch.bincount(labels, minlength=data.num_classes).tolist()
    if empty := [name for name, images in zip(data.class_names, present, strict=True) if not images]:
        rank_zero_warn(f"no image of the set is of {', '.join(map(repr, empty))}: its students never see such images")
    spec = replace(set.spec, class_names=data.class_names, task=data.task)
    pixels = cast(Tensor, set.pixels.take(order)) if isinstance(set.pixels, LazyImages) else set.pixels[order]
    return replace(set, pixels=pixels, labels=labels[order], spec=spec, soft_labels=soft)


def resize_set(set: LabeledSet, shape: tuple[int, int, int]) -> LabeledSet:
    """The set with images of another shape ``(C, H, W)``, and mean and std of as many channels.

    Grey from colour: the weights `GREY` on pixels and means, and on the std too, which is exact where the channels rise
    and fall together and too large elsewhere. Colour from grey: three equal channels.

    Raises:
        ValueError: channels other than one and three.
    """
    spec, channels = set.spec, shape[0]
    mean, std = spec.mean, spec.std
    if spec.shape[0] != channels:
        if {spec.shape[0], channels} != {1, 3}:
            raise ValueError(f"the set has {spec.shape[0]} channels, the data {channels}; only 1 and 3 are converted")
        if channels == 3:
            mean, std = mean * 3, std * 3
        else:
            mean, std = ((sum(w * v for w, v in zip(GREY, values, strict=True)),) for values in (mean, std))
    change = partial(_pixels_of_shape, spec=(new := replace(spec, shape=shape, mean=mean, std=std)))
    given = set.pixels
    pixels = cast(Tensor, given.map(change)) if isinstance(given, LazyImages) else change(given)
    return replace(set, pixels=pixels, spec=new)


def _pixels_of_shape(pixels: Tensor, spec: DataSpec) -> Tensor:
    """Pixels ``(N, C', H', W')`` in the shape and type that a spec says."""
    pixels = pixels.float()
    if pixels.shape[1] != spec.shape[0]:
        grey = spec.shape[0] == 1
        pixels = kornia.color.rgb_to_grayscale(pixels, torch.tensor(GREY)) if grey else pixels.expand(-1, 3, -1, -1)
    if pixels.shape[2:] != spec.shape[1:]:
        pixels = F.interpolate(pixels, spec.shape[1:], mode="bilinear", antialias=True, align_corners=False)
    return to_stored_dtype(pixels, spec)


def to_stored_dtype(pixels: Tensor, spec: DataSpec) -> Tensor:
    """Pixel units ``(N, C, H, W)``, any dtype, clipped to the data's range and in the type a file holds."""
    if pixels.dtype == torch.uint8 and spec.storage_dtype == "uint8":
        return pixels.clone()
    clipped = pixels.float().clamp(max(spec.min_value, -FLOAT16_MAX), min(spec.max_value, FLOAT16_MAX))
    return clipped.round().to(torch.uint8) if spec.storage_dtype == "uint8" else clipped.half()


def _check_known(name: str, known: Collection[str], whose: str) -> None:
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"the {whose} has no class {name!r}; it has {', '.join(known)}{hint}")


def _check_scale(made_from: DataSpec, data: DataSpec) -> None:
    """Refuse whole numbers beside floats of another scale; warn of floats whose scales differ."""
    ranges = made_from.max_value - made_from.min_value, data.max_value - data.min_value
    if max(ranges) <= 2 * min(ranges):
        return
    found = (
        f"the set's pixels are {made_from.storage_dtype} from {made_from.min_value:g} to {made_from.max_value:g}, "
        f"those of {data.name} {data.storage_dtype} from {data.min_value:g} to {data.max_value:g}"
    )
    if made_from.storage_dtype != data.storage_dtype:
        raise ValueError(f"{found}; bring the data's images to the scale of the set")
    rank_zero_warn(f"{found}; make sure that both have the same units")
