"""Soft labels for sets, coresets and exports: library, card, command line, and rows with hard and soft labels."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from lightning_distill import (
    DigitsDataModule,
    DMDistiller,
    NpzDataModule,
    SyntheticSetExport,
    evaluate,
    load_set,
    relabel,
    save_teachers,
    train_teachers,
)
from lightning_distill.cli import main
from lightning_distill.evaluation import Protocol, StudentTrainer
from lightning_distill.evaluation.baselines import coreset_sampler
from lightning_distill.evaluation.relabel import soft_sampler
from lightning_distill.report.results import grouped, read_results
from lightning_distill.sets.card import make_card, relabelled_card, soft_label_warning, with_soft_labels
from lightning_distill.sets.storage import read_set, save_set

SHORT = Protocol("short", 20)
QUICK = {"protocol": "tiny", "students": 2, "architectures": ["convnet_w16"], "accelerator": "cpu"}
DIGITS = ["--data=DigitsDataModule", "--network=convnet_w16", "--protocol=tiny", "--accelerator=cpu"]


@pytest.fixture
def data(make_data):
    return make_data(num_classes=2, per_class=12)


@pytest.fixture
def teachers(data):
    return train_teachers(data, 2, network="convnet_w16", protocol=SHORT)


@pytest.fixture
def picks(data):
    return coreset_sampler("herding", data.train_arrays(), [2, 2], data.spec, 0)(0)


def refused(arguments, capsys):
    with pytest.raises(SystemExit) as done:
        main(arguments)
    assert done.value.code == 2
    errors = " ".join(capsys.readouterr().err.split())
    assert "Traceback" not in errors
    return errors


def test_only_the_soft_labels_are_new_and_the_record_is_plain(data, teachers, picks):
    soft, record = relabel(picks, data, teachers=teachers, views=4, prior="balanced", seed=3)
    assert torch.equal(soft.soft_labels, teachers.label(picks.pixels, views=4, prior="balanced", seed=3))
    assert replace(soft, soft_labels=None) == replace(picks, soft_labels=None)
    assert record == {**teachers.record, "views": 4, "prior": "balanced"}
    assert json.loads(json.dumps(record)) == record
    again, _ = relabel(soft, teachers=teachers, views=4, prior="balanced", seed=3)  # replaced, not multiplied
    assert torch.equal(again.soft_labels, soft.soft_labels)
    trained, other = relabel(picks, data, teachers=2, network="convnet_w16", protocol=SHORT)
    assert torch.equal(trained.soft_labels, teachers.label(picks.pixels))
    assert other == {**teachers.record, "views": 16, "prior": "natural"}


def test_students_minimise_cross_entropy_with_the_probabilities(teachers, picks):
    soft, _ = relabel(picks, teachers=teachers)
    protocol = Protocol("one", 0, momentum=0.0, weight_decay=0.0, augmentation="none")
    trainer = StudentTrainer("convnet_w16", soft.spec, protocol=protocol, images=4, students=1, compile="off")
    start: dict[str, torch.Tensor] = {}

    def keep(epoch: int, own: dict[str, torch.Tensor]) -> None:
        if epoch == 0:
            start.update({name: value.detach().clone() for name, value in own.items()})

    student = trainer.fit(soft, 0, on_epoch_parameters=keep)
    inputs = {name: value.clone().requires_grad_() for name, value in start.items()}
    log = trainer.network(inputs, soft.spec.normalize(soft.pixels)).log_softmax(1)
    loss = -(soft.soft_labels * log).sum(1).mean()
    gradients = torch.autograd.grad(loss, list(inputs.values()))
    for (name, value), gradient in zip(inputs.items(), gradients, strict=True):
        assert torch.allclose(student.parameters[name], value.detach() - protocol.lr * gradient, atol=1e-6), name


def test_other_data_are_refused_before_any_training(data, teachers, picks, make_data):
    def never(*arguments: object) -> None:
        raise AssertionError("trained")

    other = replace(picks, spec=replace(picks.spec, class_names=("cat", "dog")))
    with pytest.raises(ValueError, match="the set and blobs differ in classes: cat, dog and 0, 1; use teachers of the"):
        relabel(other, data, on_epoch=never)
    with pytest.raises(ValueError, match="the set and the teachers' data differ in classes"):
        relabel(other, teachers=teachers)
    with pytest.raises(ValueError, match=r"differ in images \(C, H, W\): \(1, 8, 8\) and \(1, 9, 9\)"):
        relabel(picks, make_data(size=9), on_epoch=never)
    with pytest.raises(ValueError, match="the teachers' data and blobs differ in classes"):
        relabel(replace(picks, spec=make_data(3).spec), make_data(3), teachers=teachers)
    with pytest.raises(ValueError, match="teachers=3 need real data to train on; give --data"):
        relabel(picks)
    with pytest.raises(ValueError, match="unknown prior 'even'"):
        relabel(picks, data, prior="even", on_epoch=never)
    with pytest.raises(ValueError, match="views=-2"):
        relabel(picks, data, views=-2, on_epoch=never)


def test_the_card_tells_of_the_teachers(teachers, picks):
    _, record = relabel(picks, teachers=teachers)
    card = make_card("DMDistiller", {}, {"val": {"acc": 0.7}}, "real", 10)
    new = relabelled_card({**card, "sha256": "abc"}, record)
    sentence = (
        "The soft labels come from 2 networks trained on the real data (convnet_w16, short protocol, temperature "
        f"{record['temperature']}, prior natural); they tell more of the real data than the images do"
    )
    assert sentence in new["warning"]
    assert new["warning"].startswith(card["warning"])
    assert new["soft_labels"] == record
    assert "cross_entropy" in new["use"]
    assert new["use"].startswith("train on (images - mean) / std; instead of labels: soft_labels")
    assert new["scores"] == {}  # they were measured with hard labels
    assert new["relabelled_from"]["scores"] == {"val": {"acc": 0.7}}
    assert relabelled_card(new, record)["relabelled_from"] == new["relabelled_from"]
    twice = with_soft_labels(new, {**record, "prior": "balanced"})
    assert twice["warning"].count("The soft labels") == 1
    assert "prior balanced" in twice["warning"]
    assert twice["use"] == new["use"]
    learned = make_card("MTTDistiller", {}, {}, "noise", 10, ["soft_labels", "lr"])
    assert learned["warning"].endswith(soft_label_warning(None))
    assert "were learned from the real data" in learned["warning"]
    assert learned["use"].endswith("with SGD at the learned rate lr")
    relearned = with_soft_labels(learned, record)
    assert "were learned" not in relearned["warning"]
    assert relearned["use"].endswith("with SGD at the learned rate lr")
    for word in ("private", "anonym", "privacy"):
        assert word not in json.dumps(new).lower()


def test_rows_of_hard_and_soft_labels_stand_side_by_side(data, teachers, picks, tmp_path, capsys):
    soft, record = relabel(picks, teachers=teachers, prior="balanced")
    path = str(save_set(tmp_path / "set", soft, with_soft_labels({"method": "DMDistiller"}, record)))
    file = str(save_teachers(tmp_path / "teachers.safetensors", teachers))
    started = []
    results = evaluate(
        path, data, baselines=["random", "herding", "full"], labels="both", teachers=file, ars=True,
        on_start=lambda text, total: started.append(text) or (lambda: None), **QUICK,
    )  # fmt: skip
    assert [(row.trained_on, row.labels) for row in results] == [
        ("random", "hard"), ("random", "soft"), ("herding", "hard"), ("herding", "soft"), ("full", "hard"),
        ("DMDistiller", "hard"), ("DMDistiller", "soft"),
    ]  # fmt: skip
    assert "random subset, soft labels, 2 students" in started
    assert "teachers" not in " ".join(started), "they came from the file"
    by_key = {(row.trained_on, row.labels): row for row in results}
    for labels in ("hard", "soft"):
        gain = by_key["DMDistiller", labels].acc - by_key["random", labels].acc
        assert by_key["DMDistiller", labels].acc_gain_over_random == pytest.approx(gain, abs=1e-4)
    sets = {(r.candidate.name, r.candidate.labels): r.candidate.make_training_set(1) for r in results.results}
    assert sets["DMDistiller", "hard"].soft_labels is None
    assert torch.equal(sets["DMDistiller", "soft"].soft_labels, soft.soft_labels)
    assert torch.equal(sets["random", "hard"].pixels, sets["random", "soft"].pixels)
    labels = teachers.label(sets["herding", "hard"].pixels, prior="balanced")  # that of the set's card
    assert torch.equal(sets["herding", "soft"].soft_labels, labels)
    assert sets["random", "soft"] is results.results[1].candidate.make_training_set(1)

    (row,) = evaluate(path, data, **QUICK)
    assert (row.labels, row.acc) == ("soft", by_key["DMDistiller", "soft"].acc)
    (row,) = evaluate(path, data, labels="hard", **QUICK)
    assert (row.labels, row.acc) == ("hard", by_key["DMDistiller", "hard"].acc)
    (row,) = evaluate(data=data, ipc=2, baselines=["herding"], labels="soft", teachers=1, **QUICK)
    assert row.labels == "soft"
    assert "--labels soft --teachers 1" in row.command


def test_a_set_without_soft_labels_has_no_soft_row(data, picks, tmp_path):
    path = save_set(tmp_path, picks, {"method": "DMDistiller"})
    (row,) = evaluate(path, data, **QUICK)
    assert row.labels == "hard"
    with pytest.raises(ValueError, match="labels='both', but the set has hard labels only; add soft ones with light"):
        evaluate(path, data, labels="both", **QUICK)


def test_each_student_has_its_own_random_images_labelled_once(data, teachers):
    sampler = coreset_sampler("random", data.train_arrays(), [2, 2], data.spec, 0)
    soft = soft_sampler(sampler, teachers)
    assert soft(1) is soft(1)
    assert not torch.equal(soft(0).pixels, soft(1).pixels)
    assert torch.equal(soft(1).soft_labels, teachers.label(sampler(1).pixels))


def test_tables_tell_hard_from_soft_and_read_files_without_the_column(data, tmp_path):
    from lightning_distill.utils.csv_rows import append_csv, read_csv

    rows = evaluate(data=data, ipc=2, baselines=["random"], labels="both", teachers=1, **QUICK)
    out = tmp_path / "r.csv"
    append_csv(out, rows)
    assert [cells["labels"] for cells in read_csv(out)] == ["hard", "soft"]
    (group,) = grouped(read_results(out))
    assert [row.name for row in group.results] == ["random subset", "random subset, soft labels"]
    assert [row.key for row in group.results] == [("random", False), ("random", True)]
    with out.open() as file:
        old = [{k: v for k, v in cells.items() if k != "labels"} for cells in csv.DictReader(file)]
    with (tmp_path / "old.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(old[0]))
        writer.writeheader()
        writer.writerows(old[:1])
    (row,) = read_results(tmp_path / "old.csv")
    assert (row.name, row.soft) == ("random subset", False)
    append_csv(tmp_path / "old.csv", rows)
    assert [cells["labels"] for cells in read_csv(tmp_path / "old.csv")] == ["", "hard", "soft"]


def test_the_command_writes_a_set_and_reuses_teachers(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    module = DigitsDataModule()
    sets = coreset_sampler("random", module.train_arrays(), [1] * 10, module.spec, 0)
    for name in ("A", "B"):
        save_set(name, sets(ord(name)), make_card("DMDistiller", {}, {}, "real", 5))
    main(["relabel", "--set=A", "--out=soft", "--teachers=1", "--save-teachers=kept/t.safetensors", *DIGITS])
    shown = " ".join(capsys.readouterr().out.split())
    assert "10 images labelled by 1 teachers (convnet_w16, tiny), temperature" in shown
    found, card = read_set("soft")
    source, _ = read_set("A")
    assert torch.equal(found.pixels, source.pixels)
    assert torch.equal(found.labels, source.labels)
    assert torch.allclose(found.soft_labels.sum(1), torch.ones(10), atol=1e-5)
    assert card["soft_labels"]["teachers"] == 1
    assert card["method"] == "DMDistiller"
    assert str(tmp_path) not in json.dumps(card)
    assert torch.equal(load_set("soft").tensors[1], found.soft_labels)
    main(
        ["relabel", "--set=B", "--out=soft_b", "--teachers=kept/t.safetensors", "--prior=balanced", "--accelerator=cpu"]
    )
    assert read_set("soft_b")[1]["soft_labels"]["prior"] == "balanced"
    assert "no teacher file" in refused(["relabel", "--set=B", "--out=x", "--teachers=none.safetensors"], capsys)
    assert "teachers=3 need real data" in refused(["relabel", "--set=B", "--out=x"], capsys)
    assert "--out B holds the set itself" in refused(["relabel", "--set=B", "--out=B", *DIGITS], capsys)
    assert "no set file" in refused(["relabel", "--set=C", "--out=x", *DIGITS], capsys)
    arrays = {"images": np.random.default_rng(0).integers(0, 255, (20, 8, 8), np.uint8), "labels": np.arange(20) % 2}
    splits = ("train", "val", "test")
    np.savez("other.npz", **{f"{split}_{key}": value for split in splits for key, value in arrays.items()})
    other = ["--data=NpzDataModule", "--data.path=other.npz"]
    assert "differ in classes" in refused(["relabel", "--set=B", "--out=x", *other], capsys)
    wrong = ["evaluate", "--ipc=1", "--baselines=random", "--labels=soft", "--teachers=kept/t.safetensors", *other]
    assert "the teachers' data and npz differ in classes" in refused(wrong, capsys)
    assert NpzDataModule("other.npz").spec.num_classes == 2
    both = ["evaluate", "--set=soft", "--data=DigitsDataModule", "--baselines=random", "--labels=both", "--out=r.csv",
            "--teachers=kept/t.safetensors", "--students=2", "--architectures=convnet_w16", "--protocol=tiny",
            "--accelerator=cpu", "--predictions=p"]  # fmt: skip
    main(both)
    shown = " ".join(capsys.readouterr().out.split())
    hard, soft = (shown.index(f"DMDistiller, {labels} labels: ") for labels in ("hard", "soft"))
    assert hard < soft
    assert "against random images" in shown[hard:soft]
    assert "against random images" in shown[soft:]
    with open("r.csv") as file:
        assert [row["labels"] for row in csv.DictReader(file)] == ["hard", "soft", "hard", "soft"]
    assert sorted(path.stem for path in (tmp_path / "p").iterdir()) == [
        "DMDistiller", "DMDistiller_soft_labels", "random", "random_soft_labels",
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore:REAL IMAGES")
def test_picked_images_and_merged_files_keep_their_soft_labels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["coreset", "--ipc=1", "--labels=soft", "--teachers=1", "--prior=balanced", "--out=picks", *DIGITS])
    found, card = read_set("picks")
    assert found.soft_labels.shape == (10, 10)
    assert card["soft_labels"]["prior"] == "balanced"
    assert "unchanged real images" in card["warning"]
    assert "The soft labels come from 1 networks" in card["warning"]
    main(["coreset", "--ipc=1", "--out=hard", *DIGITS])
    assert read_set("hard")[0].soft_labels is None
    main(["concat", "hard", "picks", "--out=both"])
    merged, card = read_set("both")
    assert merged.soft_labels.shape == (20, 10)
    assert card["warning"].count("The soft labels come from 1 networks") == 1
    assert "soft_labels" in card["sources"][1]
    assert "soft_labels" not in card["sources"][0]


def test_an_export_relabels_the_best_set_at_the_end(make_data, make_trainer, tmp_path):
    data = make_data(num_classes=3)
    options = {"labels": "soft", "teachers": 1, "prior": "balanced", "protocol": "quick"}
    trainer = make_trainer(max_steps=2, callbacks=[SyntheticSetExport(tmp_path / "set", **options)])
    trainer.fit(DMDistiller(ipc=2, network="convnet_w16"), datamodule=data)
    found, card = read_set(tmp_path / "set" / "last")
    teachers = train_teachers(data, 1, network="convnet_w16", protocol="quick")
    assert torch.allclose(found.soft_labels, teachers.label(found.pixels, prior="balanced"), atol=1e-6)
    assert card["soft_labels"]["prior"] == "balanced"
    assert card["method"] == "DMDistiller"
    trainer = make_trainer(max_steps=2, callbacks=[SyntheticSetExport(tmp_path / "hard")])
    trainer.fit(DMDistiller(ipc=2, network="convnet_w16"), datamodule=data)
    hard, _ = read_set(tmp_path / "hard" / "last")
    assert torch.equal(hard.pixels, found.pixels), "teachers change no random stream of the distillation"
    with pytest.raises(ValueError, match="unknown labels 'weak'; use 'hard' or 'soft'"):
        SyntheticSetExport(tmp_path, labels="weak")
    with pytest.raises(ValueError, match="unknown prior"):
        SyntheticSetExport(tmp_path, labels="soft", prior="even")
    trainer = make_trainer(max_steps=2, callbacks=[SyntheticSetExport(tmp_path / "set", labels="soft", teachers="no")])
    with pytest.raises(FileNotFoundError, match="no teacher file 'no'"):
        trainer.fit(DMDistiller(ipc=2, network="convnet_w16"), datamodule=data)


def test_every_sub_image_of_a_formation_has_its_own_label(data, teachers, tmp_path):
    sampler = coreset_sampler("herding", data.train_arrays(), [2, 2], data.spec, 0, formation=2)
    stored = replace(sampler(0), pixels=sampler(0).pixels.round().to(torch.uint8))
    soft, record = relabel(stored, teachers=teachers)
    assert soft.soft_labels.shape == (4 * 4, 2)
    assert torch.equal(soft.soft_labels, teachers.label(stored.decode().pixels))
    back, card = read_set(save_set(tmp_path, soft, with_soft_labels({"method": "herding"}, record)))
    assert torch.equal(back.soft_labels, soft.soft_labels)
    assert torch.equal(back.decode().targets, soft.soft_labels)
    assert card["soft_labels"] == record
    results = evaluate(str(tmp_path), data, labels="both", **QUICK)
    assert [(row.labels, row.images) for row in results] == [("hard", row.images) for row in results[:1]] + [
        ("soft", results[0].images)
    ]


def test_what_was_measured_with_the_labels_of_the_source_is_left_out(teachers, picks):
    _, record = relabel(picks, teachers=teachers)
    card = make_card("herding", {}, {}, "unchanged", 0)
    measured = {"gain": {"score": 0.9}, "audit": {"result": {}}, "portfolio": {}, "resemblance": {"set": {}}}
    card = relabelled_card({**card, **measured}, record)
    assert not {"gain", "audit", "portfolio"} & card.keys()
    assert card["resemblance"] == measured["resemblance"], "the pixels are the same"
