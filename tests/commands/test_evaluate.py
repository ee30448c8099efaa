"""``lightning-distill evaluate`` and ``evaluate()``: sets, baselines, sites, networks, and nothing chosen on test."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
import torch
from conftest import blobs

from lightning_distill import ArrayDataModule, DMDistiller, StudentEvaluation, SyntheticSetExport
from lightning_distill.commands.evaluate import evaluate
from lightning_distill.data.npz import NpzDataModule
from lightning_distill.evaluation import LabeledSet, Predictions
from lightning_distill.evaluation.metrics.classification import compute_metrics
from lightning_distill.sets.storage import save_set

QUICK = {"protocol": "tiny", "students": 2, "architectures": ["convnet_w16"], "accelerator": "cpu"}


@pytest.fixture
def make_set(tmp_path):
    """A factory of set files: two images of every class of some data, as a method would ship them."""

    def make(data, name="set", method="DMDistiller") -> str:
        images, labels = data.train_arrays()
        rows = np.concatenate([np.flatnonzero(labels == label)[:2] for label in range(data.spec.num_classes)])
        labeled_set = LabeledSet(torch.from_numpy(images[rows]), torch.from_numpy(labels[rows]), data.spec)
        return str(save_set(tmp_path / name, labeled_set, {"method": method, "warning": "w"}))

    return make


def test_one_table_with_everything_that_follows(make_data, make_set, tmp_path, capsys):
    data, out = make_data(), tmp_path / "r.csv"
    rows = evaluate(
        make_set(data), data, baselines=["random", "herding", "full", "full_balanced"], ars=True,
        distillation_seconds=10.0, out=str(out), predictions=str(tmp_path / "predicted"), **QUICK,
    )  # fmt: skip
    names = ["random", "herding", "full", "full_balanced", "DMDistiller"]
    assert [row.trained_on for row in rows] == names
    by_name, set_row = {row.trained_on: row for row in rows}, rows[-1]
    full, random = by_name["full"].acc, by_name["random"].acc
    assert set_row.gap_full == pytest.approx(full - set_row.acc, abs=1e-4)
    assert set_row.acc_gain_over_random == pytest.approx(set_row.acc - random, abs=1e-4)
    assert set_row.recovery == pytest.approx(set_row.acc / full, abs=1e-4)
    assert 0 <= set_row.lrs <= 1
    assert 0 <= set_row.ars <= 1
    assert set_row.bytes_ratio > 0
    assert by_name["random"].gap_full != by_name["random"].gap_full, "a baseline is not judged"
    assert all(row.temperature > 0 and row.nll_scaled == row.nll_scaled for row in rows)
    with out.open() as file:
        written = list(csv.DictReader(file))
    assert [row["trained_on"] for row in written] == names
    assert "--ars true" in written[0]["command"]
    predicted = Predictions.read(tmp_path / "predicted" / "DMDistiller.safetensors")
    assert predicted.split == "test"
    again = [compute_metrics(logits, predicted.targets, predicted.spec)["acc"] for logits in predicted.logits]
    assert np.mean(again) == pytest.approx(set_row.acc, abs=1e-4)
    assert {path.stem for path in (tmp_path / "predicted").iterdir()} == {
        "random", "herding", "full", "full_balanced", "DMDistiller",
    }  # fmt: skip
    shown = " ".join(capsys.readouterr().out.split())
    assert "against random images:" in shown
    assert "12 test images: accuracy is known to ±" in shown


def test_a_set_with_the_name_of_a_baseline_is_not_its_own_baseline(make_data, make_set):
    data = make_data()
    (row,) = evaluate(make_set(data, method="random"), data, **QUICK)
    assert row.trained_on == "random"
    assert math.isnan(row.acc_gain_over_random)
    baseline, row = evaluate(make_set(data, method="random"), data, baselines=["random"], **QUICK)
    assert row.acc_gain_over_random == pytest.approx(row.acc - baseline.acc, abs=1e-5)


def test_several_networks_have_a_row_each_and_one_together(make_data, make_set, capsys):
    data = make_data()
    rows = evaluate(make_set(data), data, **(QUICK | {"architectures": ["convnet_w16", "mlp"]}))
    assert [(row.network, row.students) for row in rows] == [("convnet_w16", 2), ("mlp", 2), ("convnet_w16+mlp", 4)]
    assert rows[2].acc == pytest.approx((rows[0].acc + rows[1].acc) / 2, abs=1e-4)
    assert "drop" in capsys.readouterr().out


def test_a_set_of_one_site_is_scored_on_another(make_data, make_set):
    train_site = make_data()
    images, labels = blobs(2, 12, 10, 1, 3)
    test_site = ArrayDataModule(
        (images, 1 - labels.astype(int)), test=(images, 1 - labels.astype(int)), class_names=["low", "high"], name="B"
    )
    file = make_set(train_site)
    with pytest.raises(ValueError, match="--resize"):
        evaluate(file, train_site, test_data=test_site, **QUICK)
    with pytest.raises(ValueError, match="--map-classes"):
        evaluate(file, train_site, test_data=test_site, resize=True, **QUICK)
    rows = evaluate(
        file,
        train_site,
        baselines=["random"],
        test_data=test_site,
        resize=True,
        map_classes={"0": "high", "1": "low"},
        **QUICK,
    )
    assert [(row.dataset, row.trained_on, row.images) for row in rows] == [("B", "random", 4), ("B", "DMDistiller", 4)]
    assert "--test_data ArrayDataModule" in rows[0].command


def test_picks_in_the_embedding_of_a_trained_network_are_called_so(make_data):
    rows = evaluate(data=make_data(), ipc=2, baselines=["random", "kcenter"], space="embedding", **QUICK)
    assert [row.trained_on for row in rows] == ["random", "kcenter_embedding"]


def test_images_of_one_patient_are_resampled_together(make_data, tmp_path):
    images, labels = blobs(2, 20, 8, 1, 0)
    arrays = {}
    for split in ("train", "val", "test"):
        parts = {"images": images, "labels": labels, "lesion_id": np.array([f"{split}{i // 4}" for i in range(40)])}
        arrays |= {f"{split}_{kind}": part for kind, part in parts.items()}
    np.savez(tmp_path / "d.npz", **arrays)
    data = NpzDataModule(str(tmp_path / "d.npz"))
    (row,) = evaluate(data=data, ipc=2, baselines=["random"], **QUICK)
    assert row.resampled == "groups"
    groups = data.groups["test"]
    assert (groups[:, None] == groups).tolist() == [[i // 4 == j // 4 for j in range(40)] for i in range(40)]
    (ungrouped,) = evaluate(data=make_data(), ipc=2, baselines=["random"], **QUICK)
    assert ungrouped.resampled == "images"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ipc": 2, "baselines": ["best"]}, "unknown baseline 'best'; use any of random, .*full_balanced"),
        ({"baselines": ["random"]}, "give either a set file"),
        ({"ipc": 2, "baselines": ["random"], "architectures": ["resnet19"]}, "closest names: .*resnet1"),
    ],
)
def test_bad_input_is_refused_before_anything_is_trained(make_data, options, message):
    with pytest.raises(ValueError, match=message):
        evaluate(data=make_data(), **(QUICK | options))


def test_a_csv_of_other_columns_is_refused_before_anything_is_trained(make_data, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "lightning_distill.evaluation.candidate_runner.evaluate_candidate",
        lambda *_: pytest.fail("students were trained"),
    )
    (tmp_path / "r.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"r\.csv holds other rows"):
        evaluate(data=make_data(), ipc=2, baselines=["random"], out=str(tmp_path / "r.csv"), **QUICK)
    assert (tmp_path / "r.csv").read_text() == "a,b\n1,2\n"


def test_no_data_and_one_student_are_said(make_data):
    with pytest.raises(ValueError, match="no data: --data"):
        evaluate(ipc=2, baselines=["random"], **QUICK)
    with pytest.warns(UserWarning, match="students=1: no spread and no interval"):
        (row,) = evaluate(data=make_data(), ipc=2, baselines=["random"], **(QUICK | {"students": 1}))
    assert row.acc_std != row.acc_std
    assert row.acc_ci95_low == row.acc_ci95_low, "the interval over images needs one student only"


def test_nothing_is_chosen_on_test(tmp_path, make_trainer):
    """With shuffled test labels the same checkpoint, learning rate, epoch and temperatures come out."""
    from lightning.pytorch.callbacks import ModelCheckpoint

    accs = []
    for name, shuffle in (("true", False), ("shuffled", True)):
        images, labels = blobs(2, 12, 8, 1, 2)
        seen = np.random.default_rng(0).permutation(labels) if shuffle else labels
        data = ArrayDataModule(
            blobs(2, 12, 8, 1, 0),
            blobs(2, 6, 8, 1, 1),
            (images, seen),
            real_per_class=8,
            steps_per_epoch=2,
            name="blobs",
        )
        folder = tmp_path / name
        keep = ModelCheckpoint(folder / "checkpoints", filename="{step}", monitor="val/auroc", mode="max")
        students = StudentEvaluation("tiny", students=2, architectures=["convnet_w16"])
        trainer = make_trainer(
            6, enable_checkpointing=True, callbacks=[students, SyntheticSetExport(str(folder), yardsticks=()), keep]
        )
        trainer.fit(DMDistiller(ipc=1, network="convnet_w16"), datamodule=data)
        rows = evaluate(str(folder / "best"), data, baselines=["random"], **QUICK)
        accs.append((keep.best_model_path.replace(name, ""), keep.best_model_score, rows,
                      (folder / "best" / "set.safetensors").read_bytes()))  # fmt: skip
    (first, score, rows, file), (second, other_score, other_rows, other_file) = accs
    assert first == second
    assert score == other_score
    assert [row.temperature for row in rows] == [row.temperature for row in other_rows]
    assert [row.epochs for row in rows] == [row.epochs for row in other_rows]
    assert [row.auroc for row in rows] != [row.auroc for row in other_rows], "the labels were not shuffled"
    assert len(file) == len(other_file)
    images, others = (torch.frombuffer(bytearray(part), dtype=torch.uint8) for part in (file, other_file))
    assert (images != others).float().mean() < 0.2, "the sets differ in more than their cards"
