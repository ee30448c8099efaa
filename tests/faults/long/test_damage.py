"""Flipped bits, mutated sets, npz and image files: none is believed, and each error is one clear line."""

from __future__ import annotations

import contextlib
import json
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from faults.long.harness import flipped, record, small_data
from PIL import Image

from lightning_distill import ArrayDataModule, DMDistiller, NpzDataModule
from lightning_distill.data.readers import InvalidReadOption, UnreadableFile, read_image
from lightning_distill.distillers.mtt.experts import ExpertFiles, epoch_path, write_epoch, write_expert_card
from lightning_distill.sets.card import make_card
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.storage import read_set, save_set

pytestmark = [pytest.mark.long, pytest.mark.timeout(3000)]


@pytest.fixture
def random():
    return np.random.default_rng(0)


def write_set(folder: Path) -> bytes:
    spec = small_data().spec
    pixels = torch.randint(0, 256, (4, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    card = make_card("DMDistiller", {"seed": 3}, {}, "real", 5)
    save_set(folder, LabeledSet(pixels, torch.arange(4) // 2, spec), card)
    return (folder / "set.safetensors").read_bytes()


def same(first, second) -> bool:
    return torch.equal(first[0].pixels, second[0].pixels) and torch.equal(first[0].labels, second[0].labels) and (
        first[1] == second[1] and first[0].spec == second[0].spec
    )  # fmt: skip


def test_flipped_bits_of_a_set_are_not_believed(tmp_path, random):
    began, whole = time.monotonic(), write_set(tmp_path)
    expected, believed, refused = read_set(tmp_path), 0, 0
    for _ in range(300):
        (tmp_path / "set.safetensors").write_bytes(flipped(whole, random))
        try:
            believed += not same(read_set(tmp_path), expected)
        except ValueError as error:
            refused += 1
            believed += "\n" in str(error)
    record("bit flips, set", 300, believed, f"{refused} refused, the others are read as they were", began)
    assert believed == 0


def test_flipped_bits_of_a_checkpoint_are_not_believed(tmp_path, make_trainer, random):
    began, trainer = time.monotonic(), make_trainer(2, limit_val_batches=0)
    options = {"ipc": 1, "network": "convnet_w16", "init": "real", "formation": 1}
    trainer.fit(DMDistiller(**options), datamodule=small_data())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    whole, believed = (tmp_path / "a.ckpt").read_bytes(), 0
    for _ in range(300):
        (tmp_path / "a.ckpt").write_bytes(flipped(whole, random))
        try:
            DMDistiller.load_from_checkpoint(tmp_path / "a.ckpt", map_location="cpu")
            believed += 1
        except ValueError as error:
            believed += "\n" in str(error) or "a.ckpt is damaged" not in str(error)
    record("bit flips, checkpoint", 300, believed, "all refused by their digest", began)
    assert believed == 0


def test_flipped_bits_of_experts_are_not_believed(tmp_path, random):
    began, spec = time.monotonic(), small_data().spec
    weights = {"0.weight": torch.linspace(-1, 1, 40).reshape(4, 10), "0.bias": torch.zeros(4)}
    one = tmp_path / "experts" / "000"
    write_expert_card(one, "net", spec, {})
    for epoch in range(3):
        write_epoch(one, epoch, {name: tensor + epoch for name, tensor in weights.items()})
    whole, believed, refused = epoch_path(one, 1).read_bytes(), 0, 0
    for _ in range(300):
        epoch_path(one, 1).write_bytes(flipped(whole, random))
        try:
            found = ExpertFiles(one.parent, "net", weights, spec, 2).parameters_at(0, 1)
            believed += not all(torch.equal(found[name], weights[name] + 1) for name in weights)
        except ValueError as error:
            refused += 1
            believed += "\n" in str(error)
    record("bit flips, experts", 300, believed, f"{refused} refused, the others are read as they were", began)
    assert believed == 0


def mutated(data: bytes, random: np.random.Generator) -> bytes:
    """Return bytes with one of six kinds of damage: flips, other bytes, cut, grown, a hole, or a piece moved."""
    kind, size = int(random.integers(6)), len(data)
    start = int(random.integers(size))
    stop = min(size, start + int(random.integers(1, 64)))
    changed = bytearray(data)
    if kind == 0:
        for _ in range(int(random.integers(1, 9))):
            changed = bytearray(flipped(bytes(changed), random))
    elif kind == 1:
        changed[start:stop] = random.integers(0, 256, stop - start, np.uint8).tobytes()
    elif kind == 2:
        del changed[start:]
    elif kind == 3:
        changed[start:start] = random.integers(0, 256, 40, np.uint8).tobytes()
    elif kind == 4:
        changed[start:stop] = bytes(stop - start)
    else:
        piece = bytes(changed[start:stop])
        del changed[start:stop]
        place = int(random.integers(len(changed) + 1))
        changed[place:place] = piece
    return bytes(changed)


def test_mutated_sets_give_clear_errors(tmp_path, random):
    began, whole = time.monotonic(), write_set(tmp_path)
    expected, wrong, refused = read_set(tmp_path), [], 0
    for number in range(250):
        (tmp_path / "set.safetensors").write_bytes(mutated(whole, random))
        try:
            if not same(read_set(tmp_path), expected):
                wrong.append(f"{number}: believed")
        except (ValueError, OSError) as error:
            refused += 1
            wrong += [f"{number}: {error}"] if "\n" in str(error) or len(str(error)) > 400 else []
        except BaseException as error:
            wrong.append(f"{number}: {type(error).__name__} {error}")
    record("mutated sets", 250, len(wrong), f"{refused} refused in one line", began)
    assert not wrong, wrong


def test_mutated_npz_files_give_clear_errors(tmp_path, random):
    began, wrong, refused = time.monotonic(), [], 0
    images = random.integers(0, 256, (30, 8, 8), np.uint8)
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", train_images=images, train_labels=np.arange(30) % 2)
        whole = (tmp_path / "a.npz").read_bytes()
        for number in range(50):
            (tmp_path / "a.npz").write_bytes(mutated(whole, random))
            try:
                NpzDataModule(tmp_path / "a.npz").setup()
            except (ValueError, OSError) as error:
                refused += 1
                wrong += [f"{number}: {error}"] if "\n" in str(error) else []
            except BaseException as error:
                wrong.append(f"{number}: {type(error).__name__} {error}")
    record("mutated npz files", 100, len(wrong), f"{refused} refused in one line, the others are readable", began)
    assert not wrong, wrong


def image_files(folder: Path, random: np.random.Generator) -> dict[str, bytes]:
    """Content of image files of seven kinds by name."""
    import nibabel as nib
    from pydicom.data import get_testdata_file

    grey, colour = random.integers(0, 256, (16, 16), np.uint8), random.integers(0, 256, (16, 16, 3), np.uint8)
    for name, image in (("a.png", grey), ("b.jpg", colour), ("c.tif", colour)):
        Image.fromarray(image).save(folder / name)
    nib.save(nib.Nifti1Image(grey.reshape(4, 8, 8).astype(np.int16), np.eye(4)), folder / "d.nii")
    nib.save(nib.Nifti1Image(grey.reshape(4, 8, 8).astype(np.int16), np.eye(4)), folder / "e.nii.gz")
    found = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    for name, file in (("f.dcm", "MR_small.dcm"), ("g.dcm", "MR_small_RLE.dcm")):
        found[name] = Path(get_testdata_file(file, download=False)).read_bytes()
    return found


def test_mutated_image_files_give_clear_errors(tmp_path, random):
    began, wrong, refused, slowest = time.monotonic(), [], 0, 0.0
    files = image_files(tmp_path, random)
    for name, whole in files.items():
        for number in range(2100 // len(files)):
            path, start = tmp_path / name, time.monotonic()
            head = whole[:1500] + whole[1500:]  # damage falls on headers as often as on pixels
            cut = mutated(head[:400], random) + head[400:] if number % 2 else mutated(head, random)
            path.write_bytes(cut)
            try:
                with warnings.catch_warnings(), contextlib.redirect_stderr(None):
                    warnings.simplefilter("ignore")
                    read_image(path)
            except (UnreadableFile, InvalidReadOption) as error:
                refused += 1
                wrong += [f"{name} {number}: {error}"] if "\n" in str(error) or name not in str(error) else []
            except BaseException as error:
                wrong.append(f"{name} {number}: {type(error).__name__} {error}")
            slowest = max(slowest, time.monotonic() - start)
    note = f"{refused} refused in one line, the others are readable; slowest {slowest:.1f} s"
    record("mutated image files", 2100, len(wrong), note, began)
    assert slowest < 20
    assert not wrong, wrong[:20]


def test_mutated_cards_beside_a_set_are_mended(tmp_path, random):
    began, wrong = time.monotonic(), 0
    write_set(tmp_path)
    expected = read_set(tmp_path)
    card = (tmp_path / "card.json").read_bytes()
    for _ in range(50):
        (tmp_path / "card.json").write_bytes(mutated(card, random))
        wrong += not same(read_set(tmp_path), expected)  # the card inside of the set counts
    record("mutated card.json", 50, wrong, "the card inside of the set counts", began)
    assert wrong == 0
    assert json.loads(card) == expected[1]
    assert isinstance(small_data(), ArrayDataModule)
