"""A set file with a true hash and nonsense inside is refused, in one line; so is a changed card."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.loaded_set import load_set
from lightning_distill.sets.schema import MAX_DEPTH, depth
from lightning_distill.sets.storage import digest, read_set, save_set
from lightning_distill.spec import DataSpec

SPEC = DataSpec("toy", (1, 8, 8), ("a", "b", "c"), (100.0,), (50.0,))


def write(folder, **options):
    pixels = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8)
    soft = torch.eye(3).repeat_interleave(options.get("formation", 1) ** 2, 0)
    save_set(folder, LabeledSet(pixels, torch.arange(3), SPEC, soft, 0.01, **options), {"method": "toy"})
    with safe_open(folder / "set.safetensors", framework="np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["card"])  # noqa: SIM118


def rewrite(folder, arrays, card, rehash):
    if rehash:
        card = {**card, "sha256": digest(arrays, card if card.get("format", 1) != 1 else None)}
    save_file(arrays, folder / "set.safetensors", metadata={"card": json.dumps(card)})


SPOILED = {
    "images are not finite": lambda a, c: a.update(images=np.full((3, 1, 8, 8), np.nan, np.float16)),
    "infinite images": lambda a, c: a.update(images=np.full((3, 1, 8, 8), np.inf, np.float16)),
    "int64 images": lambda a, c: a.update(images=a["images"].astype(np.int64)),
    "images of another size": lambda a, c: a.update(images=a["images"][:, :, :4]),
    "no image": lambda a, c: a.update(images=a["images"][:0], labels=a["labels"][:0]),
    "three dimensions": lambda a, c: a.update(images=a["images"][:, 0]),
    "a label too many": lambda a, c: a.update(labels=np.arange(4)),
    "a label out of range": lambda a, c: a.update(labels=np.array([0, 1, 3])),
    "a negative label": lambda a, c: a.update(labels=np.array([0, -1, 2])),
    "labels as floats": lambda a, c: a.update(labels=a["labels"].astype(np.float32)),
    "std 0": lambda a, c: (a.update(std=np.zeros(1, np.float32)), c["data"].update(std=[0.0])),
    "mean NaN": lambda a, c: (a.update(mean=np.array([np.nan], np.float32)), c["data"].update(mean=[float("nan")])),
    "two means": lambda a, c: (a.update(mean=np.ones(2, np.float32)), c["data"].update(mean=[1.0, 1.0])),
    "formation 0": lambda a, c: a.update(formation=np.array(0)),
    "formation 5": lambda a, c: a.update(formation=np.array(5)),
    "formation 2 with too few soft labels": lambda a, c: a.update(formation=np.array(2)),
    "soft labels NaN": lambda a, c: a.update(soft_labels=np.full((3, 3), np.nan, np.float32)),
    "soft labels above 1": lambda a, c: a.update(soft_labels=np.full((3, 3), 2.0, np.float32)),
    "soft labels that do not add up": lambda a, c: a.update(soft_labels=np.full((3, 3), 0.1, np.float32)),
    "soft labels of two classes": lambda a, c: a.update(soft_labels=np.full((3, 2), 0.5, np.float32)),
    "lr 0": lambda a, c: a.update(lr=np.array(0.0, np.float32)),
    "lr NaN": lambda a, c: a.update(lr=np.array(np.nan, np.float32)),
    "no labels": lambda a, c: a.pop("labels"),
    "format 3": lambda a, c: c.update(format=3),
    "no data": lambda a, c: c.pop("data"),
    "class names are no list": lambda a, c: c["data"].update(class_names=7),
    "a deep card": lambda a, c: c.update(more=json.loads("[" * 40 + "]" * 40)),
    "a name with an escape code": lambda a, c: c["data"].update(class_names=["a", "b\x1b[2J", "c"]),
}


@pytest.mark.parametrize("spoiled", SPOILED)
def test_nonsense_with_a_true_hash_is_refused_in_one_line(spoiled, tmp_path):
    arrays, card = write(tmp_path)
    SPOILED[spoiled](arrays, card)
    rewrite(tmp_path, arrays, card, rehash=True)
    with pytest.raises(ValueError, match=r"set\.safetensors") as refused:
        read_set(tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda card: card["data"].update(class_names=["b", "a", "c"]),
        lambda card: card.update(warning="all is well"),
        lambda card: card.update(start="noise"),
        lambda card: card.update(more=1),
        lambda card: card.pop("augmentation"),
    ],
)
def test_a_changed_card_is_refused(change, tmp_path):
    arrays, card = write(tmp_path)
    change(card)
    rewrite(tmp_path, arrays, card, rehash=False)
    with pytest.raises(ValueError, match="was changed after it was written"):
        read_set(tmp_path)


@pytest.mark.parametrize("formation", [1, 2])
def test_a_whole_set_is_read_and_one_of_version_1_too(formation, tmp_path):
    arrays, card = write(tmp_path, formation=formation)
    assert card["format"] == 2
    assert len(load_set(tmp_path)) == 3 * formation**2
    del card["format"]
    rewrite(tmp_path, arrays, card, rehash=True)
    assert torch.equal(read_set(tmp_path)[0].pixels, torch.from_numpy(arrays["images"]))


def test_mutated_files_are_refused_or_read_as_they_were(tmp_path):
    write(tmp_path)
    whole, random = (tmp_path / "set.safetensors").read_bytes(), np.random.default_rng(0)
    expected = read_set(tmp_path)
    refused = 0
    for _ in range(150):
        data = bytearray(whole)
        data[random.integers(len(data))] ^= 1 << random.integers(8)
        (tmp_path / "set.safetensors").write_bytes(data)
        try:
            found = read_set(tmp_path)
        except ValueError as error:
            refused += "\n" not in str(error)
        else:
            assert torch.equal(found[0].pixels, expected[0].pixels)
            assert found[1] == expected[1]
    assert refused > 100


def test_depth_needs_no_recursion():
    value: object = 1
    for _ in range(5000):
        value = [value]
    assert depth(value) == 5000 > MAX_DEPTH
