"""Adapt a set to other data: map its classes, resize its images."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import cast

import kornia
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_distill.sets.formation import rows_of_images
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.lazy_images import LazyImages
from lightning_distill.spec import FLOAT16_MAX, DataSpec
from lightning_distill.utils.distributed import warn_on_first_rank

#: Weights of red, green and blue in grey (ITU-R BT.601), those of kornia's ``rgb_to_grayscale`` and Pillow's mode L.
GREY = (0.299, 0.587, 0.114)


def adapt_set(
    labeled_set: LabeledSet, data: DataSpec, map_classes: Mapping[str, str] | None = None, resize: bool = False
) -> LabeledSet:
    """Adapt a set to the classes and the image shape of other data; a matching set is returned unchanged.

    Classes are renamed and reordered; several classes of the set may map to one class of the data. Images are resized
    (bilinear, antialiased) and converted between grey and RGB in pixel units, then clipped and rounded to the storage
    dtype of the set.

    The set keeps *its own* mean and std, the only statistics a recipient of the file has. Its images are normalised as
    ``(pixel - set mean) / set std``, and `evaluate_students` normalises the real images of the other site by the same
    statistics. A brightness shift between two sites therefore lowers the score, as it does in deployment.

    Args:
        labeled_set: Set with pixels ``(N, C, H, W)``, labels ``(N,)`` and optional probabilities ``(N, K)``.
        data: Specification of the real images that students are scored on.
        map_classes: Class name of the data for each class name of the set. ``None`` requires equal names and order.
        resize: Whether images of another size or channel count are converted.

    Returns:
        The set with the shape and class names of the data, ordered by class.

    Raises:
        ValueError: Shape or classes differ and no conversion was requested, a class is missing in the map or unknown,
            the channel count is neither one nor three, or the pixel scales differ.
    """
    spec = labeled_set.spec
    if spec.shape != data.shape and not resize:
        raise ValueError(f"the set's images are {spec.shape} but {data.name} has {data.shape} (C, H, W); add --resize")
    if map_classes is None and spec.class_names != data.class_names:
        ours, theirs = ", ".join(spec.class_names), ", ".join(data.class_names)
        example = json.dumps(likely_partners(spec.class_names, data.class_names), ensure_ascii=False)
        raise ValueError(
            f"the set's classes are {ours}; those of {data.name} are {theirs}; map them with --map-classes, "
            f"for example (check each pair) '{example}'"
        )
    _check_scale(spec, data)
    if spec.multi_label != data.multi_label:
        raise ValueError(f"the set is {spec.task}, {data.name} is {data.task}; both must be multi-label, or none")
    if map_classes is not None:
        labeled_set = map_class_names(labeled_set, data, map_classes)
    elif spec.combinations != data.combinations:
        numbers = data.group_indices(spec.targets(labeled_set.labels))
        labeled_set = replace(labeled_set, labels=numbers, spec=replace(spec, combinations=data.combinations))
    return resize_set(labeled_set, data.shape) if spec.shape != data.shape else labeled_set


def adapted_sampler(
    sampler: Callable[[int], LabeledSet],
    data: DataSpec,
    map_classes: Mapping[str, str] | None = None,
    resize: bool = False,
) -> Callable[[int], LabeledSet]:
    """Apply `adapt_set` to the training set of each student.

    Baselines from site A are then scored on site B under the same conversion and statistics as the set of site A.
    """
    return lambda student: adapt_set(sampler(student), data, map_classes, resize)


def likely_partners(names: Sequence[str], others: Sequence[str]) -> dict[str, str]:
    """Return a class of the data for each class of a set: the most similar name, else the next one that is left.

    Args:
        names: Class names of the set.
        others: Class names of the data.

    Example:
        >>> likely_partners(["Normal", "ill"], ["malignant", "normal"])
        {'Normal': 'normal', 'ill': 'malignant'}
    """
    by_name = {other.casefold(): other for other in others}
    similar = {name: difflib.get_close_matches(name.casefold(), by_name, 1) for name in names}
    partners = {name: by_name[close[0]] for name, close in similar.items() if close}
    left = [other for other in others if other not in partners.values()]
    for name in names:
        if name not in partners:
            partners[name] = left.pop(0) if left else others[-1]
    return {name: partners[name] for name in names}


def map_class_names(labeled_set: LabeledSet, data: DataSpec, map_classes: Mapping[str, str]) -> LabeledSet:
    """Map class names: ``label' = map(label)``; probabilities of merged classes are summed.

    Args:
        labeled_set: Set with labels ``(N,)`` and optional probabilities ``(N, K)``.
        data: Specification with the target class names.
        map_classes: Class name of the data for each class name of the set.

    Raises:
        ValueError: A class of the set is not mapped, a name is unknown, or the data are multi-label.
    """
    if labeled_set.spec.multi_label:
        raise ValueError("--map-classes does not support multi-label sets; use the same label names in both")
    names = labeled_set.spec.class_names
    for given, known, whose in ((map_classes.keys(), names, "set"), (map_classes.values(), data.class_names, "data")):
        for name in given:
            _check_known(name, known, whose)
    if missing := [name for name in names if name not in map_classes]:
        raise ValueError(f"--map-classes lacks {', '.join(map(repr, missing))}; map every class of the set")
    partners = torch.tensor([data.class_names.index(map_classes[name]) for name in names])  # (K set,)
    labels = partners[labeled_set.labels]
    order = torch.argsort(labels, stable=True)
    soft = None
    if labeled_set.soft_labels is not None:
        probabilities = labeled_set.soft_labels
        mapped = probabilities.new_zeros(len(probabilities), data.num_classes).index_add_(1, partners, probabilities)
        soft = rows_of_images(mapped, order)
    present = torch.bincount(labels, minlength=data.num_classes).tolist()
    if empty := [name for name, images in zip(data.class_names, present, strict=True) if not images]:
        warn_on_first_rank(
            f"the set has no images of {', '.join(map(repr, empty))}; students are not trained on these classes"
        )
    spec = replace(labeled_set.spec, class_names=data.class_names, task=data.task)
    pixels = (
        cast(Tensor, labeled_set.pixels.take(order))
        if isinstance(labeled_set.pixels, LazyImages)
        else labeled_set.pixels[order]
    )
    return replace(labeled_set, pixels=pixels, labels=labels[order], spec=spec, soft_labels=soft)


def resize_set(labeled_set: LabeledSet, shape: tuple[int, int, int]) -> LabeledSet:
    """Resize images to ``(C, H, W)`` and convert mean and std to the new channel count.

    RGB to grey applies the weights `GREY` to pixels, mean and std; the std is exact for perfectly correlated channels
    and an upper bound otherwise. Grey to RGB repeats the channel three times.

    Args:
        labeled_set: Set with pixels ``(N, C, H, W)``. Its sub-images, if any, are decoded first.
        shape: Target shape ``(C, H, W)``.

    Raises:
        ValueError: The channel counts differ and are not one and three.
    """
    labeled_set = labeled_set.decode()
    spec, channels = labeled_set.spec, shape[0]
    mean, std = spec.mean, spec.std
    if spec.shape[0] != channels:
        if {spec.shape[0], channels} != {1, 3}:
            raise ValueError(
                f"the set has {spec.shape[0]} channels, the data {channels}; only 1 and 3 can be converted"
            )
        if channels == 3:
            mean, std = mean * 3, std * 3
        else:
            mean, std = ((sum(w * v for w, v in zip(GREY, values, strict=True)),) for values in (mean, std))
    convert = partial(_pixels_of_shape, spec=(new := replace(spec, shape=shape, mean=mean, std=std)))
    images = labeled_set.pixels
    pixels = cast(Tensor, images.map(convert)) if isinstance(images, LazyImages) else convert(images)
    return replace(labeled_set, pixels=pixels, spec=new)


def _pixels_of_shape(pixels: Tensor, spec: DataSpec) -> Tensor:
    """Convert pixels ``(N, C', H', W')`` to the shape and storage dtype of a spec."""
    pixels = pixels.float()
    if pixels.shape[1] != spec.shape[0]:
        grey = spec.shape[0] == 1
        pixels = kornia.color.rgb_to_grayscale(pixels, torch.tensor(GREY)) if grey else pixels.expand(-1, 3, -1, -1)
    if pixels.shape[2:] != spec.shape[1:]:
        pixels = F.interpolate(pixels, spec.shape[1:], mode="bilinear", antialias=True, align_corners=False)
    return to_stored_dtype(pixels, spec)


def to_stored_dtype(pixels: Tensor, spec: DataSpec) -> Tensor:
    """Clip pixels ``(N, C, H, W)`` to the valid range and cast them to the storage dtype."""
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
    """Raise ValueError for uint8 beside floats of another scale; warn about floats of different scales."""
    ranges = made_from.max_value - made_from.min_value, data.max_value - data.min_value
    if max(ranges) <= 2 * min(ranges):
        return
    message = (
        f"the set's pixels are {made_from.storage_dtype} from {made_from.min_value:g} to {made_from.max_value:g}, "
        f"those of {data.name} {data.storage_dtype} from {data.min_value:g} to {data.max_value:g}"
    )
    if made_from.storage_dtype != data.storage_dtype:
        raise ValueError(f"{message}; rescale the images of the data to the range of the set")
    warn_on_first_rank(f"{message}; check that both use the same units")
