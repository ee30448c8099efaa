"""Tests of ``MedMNIST3DDataModule``, on small generated files of the official format."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import medmnist
import numpy as np
import pytest
import torch

from lightning_distill import DMDistiller, MedMNIST3DDataModule, SitesDataModule
from lightning_distill.audit import audit
from lightning_distill.augmentation.siamese import PRESETS
from lightning_distill.callbacks import SyntheticSetExport
from lightning_distill.cli import main
from lightning_distill.evaluation.metrics.predictions import Predictions

#: name: (classes, task, volumes of train, val and test, may be mirrored)
SETS = {
    "organmnist3d": (11, "multi-class", (971, 161, 610), False),
    "nodulemnist3d": (2, "binary", (1158, 165, 310), False),
    "adrenalmnist3d": (2, "binary", (1188, 98, 298), False),
    "fracturemnist3d": (3, "multi-class", (1027, 103, 240), False),
    "vesselmnist3d": (2, "binary", (1335, 191, 382), False),
    "synapsemnist3d": (2, "binary", (1230, 177, 352), True),
}


def write(folder, name="nodulemnist3d", size=28, counts=None, **more):
    """A file in MedMNIST3D's form: uint8 volumes (n, size, size, size), labels (n, 1) uint8."""
    classes = SETS[name][0]
    random, arrays = np.random.default_rng(0), {}
    for split, count in zip(("train", "val", "test"), counts or (3 * classes, classes, classes), strict=True):
        arrays[f"{split}_images"] = random.integers(0, 256, (count, size, size, size), np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count)[:, None] % classes).astype(np.uint8)
    path = folder / (f"{name}.npz" if size == 28 else f"{name}_{size}.npz")
    np.savez(path, **arrays, **more)
    return arrays


def load(folder, name="nodulemnist3d", **options):
    return MedMNIST3DDataModule(name, root=str(folder), download=False, **options)


def test_these_are_all_the_3d_sets_of_the_package():
    assert sorted(SETS) == sorted(name for name in medmnist.INFO if name.endswith("3d"))
    for name, (_, _, counts, _) in SETS.items():
        assert tuple(medmnist.INFO[name]["n_samples"].values()) == counts


@pytest.mark.parametrize("size", [28, 64])
@pytest.mark.parametrize("name", SETS)
def test_every_set_is_read_with_its_shape_classes_task_and_valid_augmentation(tmp_path, name, size):
    classes, task, _, mirrored = SETS[name]
    written = write(tmp_path, name, size)
    data = load(tmp_path, name, size=size, real_per_class=2)
    spec = data.spec
    assert spec.name == (name if size == 28 else f"{name}_{size}")
    assert (spec.shape, spec.task, spec.storage_dtype) == ((1, size, size), task, "uint8")
    assert list(spec.class_names) == list(medmnist.INFO[name]["label"].values())
    assert spec.license == medmnist.INFO[name]["license"]
    assert ("flip" in PRESETS[spec.augmentation]) == mirrored
    assert spec.source == "not the official file, centre slice along axis 0 of 3D volumes"
    for split in ("train", "val", "test"):
        images, labels = data.splits[split]
        np.testing.assert_array_equal(images[:, 0], written[f"{split}_images"][:, size // 2])
        np.testing.assert_array_equal(labels, written[f"{split}_labels"][:, 0])
    assert data.groups == {}
    x, y = data.train_dataloader().batch(0)
    assert x.shape == (2 * classes, 1, size, size)
    assert torch.bincount(y).tolist() == [2] * classes


def test_a_file_with_the_true_number_of_volumes_is_read(tmp_path):
    counts = SETS["nodulemnist3d"][2]
    arrays = {}
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        arrays[f"{split}_images"] = np.zeros((count, 28, 28, 28), np.uint8)
        arrays[f"{split}_images"][:, 14] = np.arange(count)[:, None, None] % 251
        arrays[f"{split}_labels"] = (np.arange(count)[:, None] % 2).astype(np.uint8)
    np.savez_compressed(tmp_path / "nodulemnist3d.npz", **arrays)
    data = load(tmp_path)
    data.setup()
    assert tuple(len(data.splits[split][1]) for split in ("train", "val", "test")) == counts
    np.testing.assert_array_equal(data.splits["test"][0][:, 0, 0, 0], np.arange(310) % 251)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("slices", ["brightest", "foreground"])
def test_a_slice_chosen_by_its_grey_values_is_that_of_each_volume(tmp_path, axis, slices):
    written = write(tmp_path)
    data = load(tmp_path, slices=slices, axis=axis, foreground_above=200 if slices == "foreground" else 0)
    data.setup()
    others = tuple(of for of in (0, 1, 2) if of != axis)
    for split in ("train", "test"):
        for image, volume in zip(data.splits[split][0], written[f"{split}_images"], strict=True):
            score = (volume.astype(int) if slices == "brightest" else (volume > 200)).sum(others)
            place = min(range(28), key=lambda n, score=score: (-score[n], abs(n - 14), n))
            np.testing.assert_array_equal(image[0], volume.take(place, axis))
    what = {"brightest": "greatest sum of grey values", "foreground": "most voxels above 200"}[slices]
    assert data.spec.source == f"not the official file, slice with the {what} along axis {axis} of 3D volumes"


def test_slices_of_a_volume_are_one_group_that_no_two_splits_share(tmp_path):
    written = write(tmp_path, counts=(6, 4, 5))
    data = load(tmp_path, count=3, step=4, axis=1)
    assert data.spec.source.endswith("3 slices along axis 1 of 3D volumes, 4 voxels apart around the centre")
    for split, count in (("train", 6), ("val", 4), ("test", 5)):
        images, labels = data.splits[split]
        volumes = written[f"{split}_images"]
        expected = [volume[:, place] for volume in volumes for place in (10, 14, 18)]
        np.testing.assert_array_equal(images[:, 0], expected)
        np.testing.assert_array_equal(labels, np.repeat(np.arange(count) % 2, 3))
        numbers = data.groups[split].reshape(count, 3)
        assert (numbers == numbers[:, :1]).all()
        assert len(np.unique(numbers)) == count
    everything = np.concatenate([np.unique(numbers) for numbers in data.groups.values()])
    assert len(np.unique(everything)) == 15


def test_without_a_val_split_whole_volumes_are_carved_out(tmp_path):
    written = write(tmp_path, counts=(20, 2, 2))
    np.savez(tmp_path / "nodulemnist3d.npz", **{key: of for key, of in written.items() if not key.startswith("val")})
    data = load(tmp_path, count=2)
    data.setup()
    assert len(data.groups["val"]) == len(data.splits["val"][1]) == 4
    assert not set(data.groups["train"]) & set(data.groups["val"])


def test_patients_that_a_file_names_are_the_groups(tmp_path):
    patients = {"train_patient_id": np.array(["a", "a", "b", "c"]), "val_patient_id": np.array(["d", "e"]),
                "test_patient_id": np.array(["f", "a"])}  # fmt: skip
    write(tmp_path, counts=(4, 2, 2), **patients)
    with pytest.raises(ValueError, match="train and test share 1 group"):
        load(tmp_path, count=2).setup()
    data = load(tmp_path, count=2, on_overlap="drop")
    with pytest.warns(UserWarning, match="leaves out 4 of train's 8"):
        data.setup()
    assert data.groups["train"].tolist() == [1, 1, 2, 2]
    assert data.groups["test"].tolist() == [5, 5, 0, 0]
    assert data.group_kind == "patient or lesion"


def test_a_split_without_patients_keeps_its_volumes_together(tmp_path):
    write(tmp_path, counts=(4, 2, 2), train_patient_id=np.array([5, 5, 6, 7]))
    data = load(tmp_path, count=2)
    data.setup()
    assert data.groups["train"].tolist() == [0, 0, 0, 0, 1, 1, 2, 2]
    assert data.groups["val"].tolist() == [3, 3, 4, 4]
    assert data.groups["test"].tolist() == [5, 5, 6, 6]
    assert data.group_kind == "volume"


def test_the_audit_does_not_take_volumes_for_patients(tmp_path):
    write(tmp_path, counts=(8, 4, 4))
    for count, message in ((3, "grouped by volume only, and no volume is in two splits"),
                        (1, "the data have no patient groups")):  # fmt: skip
        (finding,) = [
            item for item in audit(load(tmp_path, count=count).load_splits()) if item.check.startswith("a patient")
        ]
        assert finding.status == "unknown"
        assert message in finding.found
    site = SitesDataModule(load(tmp_path, count=3), site=0, shares=[0.5, 0.5], balance=None)
    site.setup()
    assert site.group_kind == "volume"


def test_the_checksum_of_the_size_decides_whether_a_file_is_official(tmp_path, monkeypatch):
    for size, key in ((28, "MD5"), (64, "MD5_64")):
        write(tmp_path, size=size)
        path = tmp_path / ("nodulemnist3d.npz" if size == 28 else "nodulemnist3d_64.npz")
        monkeypatch.setitem(medmnist.INFO["nodulemnist3d"], key, hashlib.md5(path.read_bytes()).hexdigest())
        assert load(tmp_path, size=size).spec.source == "official file, centre slice along axis 0 of 3D volumes"


def test_a_recipe_makes_the_same_data_again(tmp_path):
    write(tmp_path)
    plain = load(tmp_path)
    assert plain.reproducible_args == {"name": "nodulemnist3d", "source": "not the official file"}
    data = load(tmp_path, slices="foreground", axis=2, foreground_above=9, source="reassembled")
    assert data.reproducible_args == {
        "name": "nodulemnist3d", "slices": "foreground", "axis": 2, "foreground_above": 9, "source": "reassembled",
    }  # fmt: skip
    arguments = dict(data.reproducible_args)
    again = load(tmp_path, arguments.pop("name"), **arguments)
    assert again.spec == data.spec
    data.load_splits()  # an audit reads once more
    assert data.load_splits().source == data.spec.source


def test_a_missing_file_is_fetched_through_the_package_when_downloading_is_on(tmp_path, monkeypatch):
    requests = []

    def fetch(split, root, size, download):
        requests.append((split, root, size, download))
        write(Path(root), "vesselmnist3d", size)

    monkeypatch.setattr(medmnist, medmnist.INFO["vesselmnist3d"]["python_class"], fetch)
    data = MedMNIST3DDataModule("vesselmnist3d", size=64, root=str(tmp_path / "new"))
    data.prepare_data()
    assert data.spec.shape == (1, 64, 64)
    assert requests == [("train", str(tmp_path / "new"), 64, True)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "organmnist"}, r"unknown MedMNIST set 'organmnist'; closest: .*organmnist3d"),
        ({"name": "breastmnist"}, r"unknown MedMNIST set 'breastmnist'; .*; breastmnist is read by MedMNISTDataModule"),
        ({"size": 128}, "size=128; MedMNIST3D has 28, 64"),
        ({"slices": "mask"}, "unknown slices='mask'; use one of centre, brightest, foreground"),
        ({"axis": 3}, "axis=3; the array of a volume has the axes 0, 1 and 2"),
        ({"count": 8, "step": 4}, "count=8 slices 4 apart span 29 voxels, a volume has 28; lower count or step"),
        ({"count": 2, "slices": "brightest"}, "count=2 with slices='brightest'"),
    ],
)
def test_bad_options_are_refused_before_anything_is_read(options, message):
    with pytest.raises(ValueError, match=message):
        MedMNIST3DDataModule(**{"name": "nodulemnist3d", **options})


def test_files_of_another_form_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nodulemnist3d\.npz is not in "):
        load(tmp_path).setup()
    written = write(tmp_path)

    def change(**arrays):
        np.savez(tmp_path / "nodulemnist3d.npz", **{**written, **arrays})

    change(val_images=written["val_images"][:, 0])
    with pytest.raises(ValueError, match=r"has val_images of shape \(2, 28, 28\) and 2 labels; expected \(N, 28"):
        load(tmp_path).setup()
    change(train_labels=written["train_labels"][:5])
    with pytest.raises(ValueError, match=r"train_images of shape \(6, 28, 28, 28\) and 5 labels"):
        load(tmp_path).setup()
    change(train_images=written["train_images"].astype(np.float32))
    with pytest.raises(TypeError, match="train_images of dtype float32; MedMNIST3D uses uint8"):
        load(tmp_path).setup()
    path = tmp_path / "nodulemnist3d.npz"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"cannot read nodulemnist3d\.npz: it is truncated or corrupted"):
        load(tmp_path).setup()


def test_a_set_is_distilled_and_its_card_names_the_slices(tmp_path, make_trainer):
    write(tmp_path, counts=(12, 4, 4))
    data = load(tmp_path, count=3, step=2, real_per_class=4)
    trainer = make_trainer(2, callbacks=[SyntheticSetExport(str(tmp_path / "out"))])
    trainer.fit(DMDistiller(ipc=1, network="convnet_w16"), datamodule=data)
    (card,) = (tmp_path / "out").rglob("card.json")
    source = json.loads(card.read_text())["data"]["source"]
    assert source == "not the official file, 3 slices along axis 0 of 3D volumes, 2 voxels apart around the centre"


def test_the_command_scores_slices_and_compares_volumes(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MEDMNIST_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write(tmp_path, counts=(12, 4, 6))
    main(["evaluate", "--ipc=2", "--data=MedMNIST3DDataModule", "--data.name=nodulemnist3d", "--data.axis=2",
          "--data.count=3", "--baselines=[random,herding]", "--students=2", "--architectures=[mlp]",
          "--protocol=quick", "--out=r.csv", "--predictions=p", "--accelerator=cpu"])  # fmt: skip
    assert "--data.source 'not the official file' --data.axis 2 --data.count 3" in Path("r.csv").read_text()
    predictions = Predictions.read("p/random.safetensors")
    assert predictions.groups.tolist() == [n for n in predictions.groups.unique().tolist() for _ in range(3)]
    assert len(predictions.groups.unique()) == 6
    capsys.readouterr()
    main(["compare", "p/random.safetensors", "p/herding.safetensors", "--by_group=true", "--metrics=[acc]"])
    assert "6 groups" in capsys.readouterr().out
