"""Data of which an image may have several labels, or none: combinations of labels are what classes are elsewhere."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from lightning_distill import (
    ArrayDataModule,
    DCDistiller,
    DMDistiller,
    DSADistiller,
    KRRDistiller,
    MTTDistiller,
    NpzDataModule,
    StudentEvaluation,
    SyntheticSetExport,
    load_set,
)
from lightning_distill.augmentation.siamese import SiameseAugmentation
from lightning_distill.cli import main
from lightning_distill.commands.experts import experts
from lightning_distill.data.checks.label_combinations import combination_indices, frequent_combinations, is_covered
from lightning_distill.evaluation import PROTOCOLS, Protocol, StudentTrainer, get_protocol
from lightning_distill.evaluation.baselines import full_data
from lightning_distill.functional.gradients import loss_gradient, mixed_derivative
from lightning_distill.functional.network import FunctionalNetwork
from lightning_distill.networks import create_network
from lightning_distill.objectives import label_entropy
from lightning_distill.sets.merge import merge_sets
from lightning_distill.sets.storage import read_set
from lightning_distill.sets.synthetic import SyntheticSet
from lightning_distill.spec import DataSpec

NAMES = ["left", "middle", "right"]
COMBINATIONS = ((0, 0, 0), (1, 0, 0), (0, 1, 1))


def bands(count: int, seed: int = 0):
    """Images ``(N, 9, 9)`` with a bright band for each label; three frequent combinations and a rare one."""
    random = np.random.default_rng(seed)
    rows = np.array([*COMBINATIONS, (1, 1, 1)])
    labels = rows[random.choice(4, count, p=[0.4, 0.3, 0.27, 0.03])]
    images = random.integers(0, 60, (count, 9, 9))
    for k in range(3):
        images[:, :, 3 * k : 3 * k + 3] += 120 * labels[:, None, None, k]
    return images.astype(np.uint8), labels.astype(np.uint8)


@pytest.fixture
def data():
    options = {"class_names": NAMES, "name": "bands", "min_combination": 6, "real_per_class": 8, "augmentation": "none"}
    return ArrayDataModule(bands(100), bands(40, 1), bands(60, 2), **options)


def test_the_loss_is_the_sum_over_labels_of_binary_cross_entropies():
    random = np.random.default_rng(0)
    logits, targets = random.normal(size=(5, 4)) * 3, random.random((5, 4))
    p = 1 / (1 + np.exp(-logits))
    expected = -(targets * np.log(p) + (1 - targets) * np.log(1 - p)).sum(1)
    inputs = torch.from_numpy(logits), torch.from_numpy(targets)
    np.testing.assert_allclose(label_entropy(*inputs, "none").numpy(), expected, rtol=1e-9)
    assert label_entropy(*inputs).item() == pytest.approx(expected.mean())
    assert label_entropy(*inputs, "sum").item() == pytest.approx(expected.sum())


def test_gradients_and_second_derivatives_are_those_of_that_loss():
    build = lambda: create_network("convnet_w16", 1, 3, (9, 9))  # noqa: E731
    network = FunctionalNetwork(build, label_entropy, compile="off", chunk=4)
    torch.manual_seed(0)
    parameters = {name: tensor.double() for name, tensor in network.init_params().items()}
    x, y = torch.randn(6, 1, 9, 9, dtype=torch.float64), torch.randint(0, 2, (6, 3)).double()
    weights = network.require_grad(parameters)
    loss = 3 * torch.nn.BCEWithLogitsLoss()(network.eager(parameters, x), y)
    expected = torch.autograd.grad(loss, weights)
    for result, right in zip(loss_gradient(network, parameters, x, y), expected, strict=True):
        torch.testing.assert_close(result, right)
    directions = [torch.randn_like(weight) for weight in weights]
    leaf = x.clone().requires_grad_()
    loss = 3 * torch.nn.BCEWithLogitsLoss()(network.eager(parameters, leaf), y)
    inner = torch.autograd.grad(loss, weights, create_graph=True)
    slope = torch.stack([(v * g).sum() for v, g in zip(directions, inner, strict=True)]).sum()
    _, by_images, _ = mixed_derivative(network, parameters, x, y, directions)
    torch.testing.assert_close(by_images, torch.autograd.grad(slope, leaf)[0])


def test_combinations_are_counted_named_and_covered(data):
    _, labels = bands(100)
    counts = [int((labels == row).all(1).sum()) for row in (*COMBINATIONS, (1, 1, 1))]
    assert set(frequent_combinations(labels, 6)) == set(COMBINATIONS)
    assert len(frequent_combinations(labels, 1)) == 4
    assert [int((labels == row).all(1).sum()) for row in frequent_combinations(labels, 1)] == sorted(
        counts, reverse=True
    )
    spec = data.spec
    assert (spec.task, spec.num_classes, len(spec.balance_groups)) == ("multi-label", 3, 3)
    assert set(spec.balance_groups) == {"none", "left", "middle + right"}
    images, strata = data.train_arrays()
    assert len(images) == sum(counts[:3]) < len(data.all_train_arrays()[0]) == 100
    np.testing.assert_array_equal(spec.targets(torch.from_numpy(strata)).numpy(), labels[(labels.sum(1) < 3)])
    assert (combination_indices(labels, COMBINATIONS) == -1).sum() == counts[3]
    assert torch.equal(spec.group_indices(spec.targets(torch.tensor([2, 0, 1]))), torch.tensor([2, 0, 1]))
    assert DataSpec.from_dict(spec.to_dict()) == spec


def test_the_covered_share_is_told_and_a_label_that_nobody_will_see(caplog):
    splits = bands(100)
    few = {"class_names": NAMES, "name": "bands", "min_combination": 6}
    with caplog.at_level("INFO", logger="lightning.pytorch.utilities.rank_zero"):
        ArrayDataModule(splits, splits, **few).train_arrays()
    share = (splits[1].sum(1) < 3).mean()
    assert f"{share:.1%} of 100 training images have one of 3 combinations of labels" in caplog.text
    labels = np.zeros((100, 3), np.uint8)
    labels[:50, 0], labels[0, 2] = 1, 1
    with pytest.warns(UserWarning, match="no combination has 'middle', 'right'"):
        ArrayDataModule((splits[0], labels), splits, **few).train_arrays()


def test_too_few_combinations_are_refused_where_they_are_needed():
    images, labels = bands(100)
    data = ArrayDataModule((images, labels), (images, labels), class_names=NAMES, min_combination=90)
    assert len(data.spec.combinations) == 0  # enough to be scored on
    with pytest.raises(ValueError, match=r"0 combinations .* set min_combination to fewer"):
        data.train_arrays()
    with pytest.raises(ValueError, match="none of 3 images has one of the 2 combinations"):
        is_covered(np.ones((3, 3), np.int64), COMBINATIONS[:2])


METHODS = [DMDistiller, DCDistiller, DSADistiller, KRRDistiller, MTTDistiller]


def make(method, data, folder, **options):
    if method is MTTDistiller:
        experts(data, str(folder / "experts"), count=1, epochs=4, network="convnet_w16", accelerator="cpu")
        options = {"experts": str(folder / "experts"), "max_start": 2, "expert_epochs": 2, "syn_steps": 2, **options}
    return method(ipc=2, network="convnet_w16", **options)


@pytest.mark.parametrize("method", METHODS, ids=lambda cls: cls.__name__)
def test_every_method_goes_the_whole_way(method, data, make_trainer, tmp_path):
    callbacks = [
        StudentEvaluation("tiny", students=2, architectures=["convnet_w16"]),
        SyntheticSetExport(str(tmp_path), yardsticks=()),
    ]
    trainer = make_trainer(callbacks=callbacks)
    distiller = make(method, data, tmp_path)
    trainer.fit(distiller, datamodule=data)
    assert {"val/auroc", "val/mAP", "val/auroc/left", "val/acc_gain_over_random"} <= set(trainer.callback_metrics)
    (tested,) = trainer.test(distiller, datamodule=data, verbose=False)
    assert 0 <= tested["test/acc"] <= 1
    begun = SyntheticSet.from_real_data(*data.train_arrays(), data.spec, 2, distiller.hparams["init"], 0)
    assert not torch.equal(distiller.synthetic.images, begun.images)
    images, labels = load_set(tmp_path / "last").tensors
    assert images.shape == (6, 1, 9, 9)
    assert torch.equal(labels, data.spec.targets(torch.tensor([0, 0, 1, 1, 2, 2])))
    raw = load_file(tmp_path / "last" / "set.safetensors")  # as somebody without this package reads it
    assert raw["labels"].tolist() == labels.tolist()
    again, card = read_set(tmp_path / "last")
    assert again.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert card["data"]["combinations"] == [list(row) for row in data.spec.combinations]


def test_soft_labels_are_learned_each_for_itself(data, make_trainer, tmp_path):
    distiller = make(MTTDistiller, data, tmp_path, soft_labels=True, soft_lr=10.0)
    make_trainer(2).fit(distiller, datamodule=data)
    soft = distiller.synthetic.targets()
    assert soft.shape == (6, 3)
    assert not torch.allclose(soft.sum(1), torch.ones(6))  # no softmax: labels do not exclude each other
    assert ((soft > 0.5) == distiller.synthetic.spec.targets(distiller.synthetic.labels).bool()).all()


def test_what_is_distilled_teaches_the_labels(data, make_trainer, monkeypatch):
    distiller = DMDistiller(ipc=2, network="convnet_w16")
    monkeypatch.setitem(PROTOCOLS, "tiny", Protocol("tiny", 150, lr=0.1))
    students = StudentEvaluation("tiny", students=2, architectures=["convnet_w16"], random_baseline=False)
    trainer = make_trainer(10, callbacks=[students], limit_val_batches=0)
    trainer.fit(distiller, datamodule=data)
    (tested,) = trainer.test(distiller, datamodule=data, verbose=False)
    assert tested["test/auroc"] > 0.9
    assert tested["test/acc"] > 0.85


def test_all_real_data_are_learned_from_with_every_combination(data):
    real = full_data(data.all_train_arrays(), data.spec)(0)
    assert torch.equal(real.targets, torch.from_numpy(bands(100)[1]).float())
    trainer = StudentTrainer(
        "convnet_w16", data.spec, protocol=get_protocol("tiny"), images=100, students=1, compile="off"
    )
    assert trainer.fit(real, 0).predict(torch.randn(2, 1, 9, 9)).shape == (2, 3)


def test_combinations_become_classes_of_their_own(make_trainer):
    options = {"class_names": NAMES, "name": "bands", "min_combination": 6, "combinations_as_classes": True}
    data = ArrayDataModule(bands(100), bands(40, 1), bands(60, 2), real_per_class=8, **options)
    assert (data.spec.task, set(data.spec.class_names)) == ("multi-class", {"none", "left", "middle + right"})
    assert data.spec.combinations == ()
    kept = int((bands(60, 2)[1].sum(1) < 3).sum())
    assert sum(len(y) for _, y in data.test_dataloader()) == kept < 60
    students = StudentEvaluation("tiny", students=2, architectures=["convnet_w16"])
    trainer = make_trainer(callbacks=[students])
    trainer.fit(DMDistiller(ipc=1, network="convnet_w16"), datamodule=data)
    assert "val/worst_recall" in trainer.callback_metrics
    with pytest.raises(ValueError, match="combinations_as_classes=True, but the labels are single ones"):
        ArrayDataModule((bands(90)[0], np.arange(90) % 3), combinations_as_classes=True).setup()


def test_sets_of_two_sites_with_other_combinations_are_joined(data):
    rows = (data.spec.combinations[1], (1, 1, 1))
    first = read_like(data.spec, [0, 1, 2])
    second = read_like(DataSpec(**{**vars(data.spec), "combinations": rows}), [0, 1])
    both = merge_sets([first, second])
    assert both.spec.combinations == (*data.spec.combinations, (1, 1, 1))
    assert both.labels.tolist() == [0, 1, 1, 2, 3]
    assert torch.equal(both.targets, both.spec.targets(both.labels))


def read_like(spec, labels):
    from lightning_distill.evaluation import LabeledSet

    return LabeledSet(torch.zeros(len(labels), *spec.shape, dtype=torch.uint8), torch.tensor(labels), spec)


def test_plain_tensors_with_several_labels_are_evaluated(make_trainer, data):
    images, labels = torch.randn(6, 1, 9, 9), torch.tensor([*COMBINATIONS, *COMBINATIONS])
    options = {"students": 2, "protocol": "tiny", "architectures": ["convnet_w16"], "random_baseline": False}
    callback = StudentEvaluation(synthetic_set=(images, labels), **options)
    (tested,) = make_trainer(callbacks=[callback]).test(DMDistiller(ipc=1, network="convnet_w16"), datamodule=data,
                                                        verbose=False)  # fmt: skip
    assert {"test/mAP", "test/auroc/0"} <= set(tested)


def test_the_siamese_draw_is_one_a_combination(data):
    augment = SiameseAugmentation("dsa", (9, 9))
    x = torch.randn(4, 1, 9, 9)
    out = augment.of_classes(torch.cat([x[:2], x[:2]]), [2, 2], [1, 1])
    torch.testing.assert_close(out[:2], out[2:])


def test_a_file_of_the_shape_of_chestmnist_goes_the_whole_way(tmp_path, monkeypatch, capsys):
    """78,468 images with 14 findings: fit, export, evaluate from the shell; rare combinations are left to the rest."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 78_468), ("val", 400), ("test", 800)):
        arrays[f"{split}_images"] = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays[f"{split}_labels"] = (random.random((count, 14)) < np.linspace(0.01, 0.12, 14)).astype(np.uint8)
    np.savez("chest.npz", **arrays)
    words = ["--data=NpzDataModule", "--data.path=chest.npz", "--data.augmentation=dsa_noflip"]
    fit = ["fit", "--model=DMDistiller", "--model.ipc=1", "--model.network=convnet_w16", "--model.compile=off",
           *words, "--data.real_per_class=4", "--trainer.max_steps=2", "--trainer.logger=false",
           "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false",
           "--trainer.callbacks+=SyntheticSetExport", "--trainer.callbacks.dirpath=out"]  # fmt: skip
    main(fit)
    _, labels = load_set("out/last").tensors
    spec = NpzDataModule("chest.npz").spec
    assert labels.shape == (4 * len(spec.combinations), 14)
    assert 2 <= len(spec.combinations) < 100
    main(["evaluate", "--set=out/last", *words, "--protocol=tiny", "--students=2", "--architectures=[convnet_w16]",
          "--baselines=[random]", "--accelerator=cpu", "--out=rows.csv"])  # fmt: skip
    rows = list(csv.DictReader(open("rows.csv")))  # noqa: SIM115
    assert [row["trained_on"] for row in rows] == ["random", "DMDistiller"]
    assert all(0 < float(row["auroc"]) < 1 for row in rows)
