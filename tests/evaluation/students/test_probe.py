"""The protocols ``probe`` and ``finetune``: the fit, the cache of features, and what results record."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import blobs
from sklearn.linear_model import LogisticRegression

from lightning_distill import ArrayDataModule, DMDistiller, StudentEvaluation
from lightning_distill.cli import main
from lightning_distill.commands.evaluate import evaluate
from lightning_distill.evaluation import StudentEvaluator, full_data
from lightning_distill.evaluation.features import embed_features, embedding_epochs
from lightning_distill.evaluation.students import probe
from lightning_distill.evaluation.students.probe import FeatureCache, FrozenEncoder, fit_linear
from lightning_distill.evaluation.students.trainer import Student
from lightning_distill.networks import resolve_networks
from lightning_distill.sets.storage import read_set

NAME = "test_efficientnet:32"


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch):
    monkeypatch.setattr(probe.CACHE, "_features", type(probe.CACHE._features)())
    monkeypatch.setattr(probe.CACHE, "_bytes", 0)


@pytest.fixture
def scoring(encoder_weights):
    return {
        "protocol": "probe",
        "students": 2,
        "architectures": [NAME],
        "weights": encoder_weights,
        "accelerator": "cpu",
    }


@pytest.fixture
def embedded(monkeypatch):
    """Numbers of images that went through an encoder, one for each call."""
    counts = []
    embed = FrozenEncoder._embed
    monkeypatch.setattr(FrozenEncoder, "_embed", lambda self, x: counts.append(len(x)) or embed(self, x))
    return counts


def scikit(features, targets, c, **options):
    centred = features - features.mean(0)
    scaled = centred / np.sqrt((centred**2).sum(1).mean())
    return LogisticRegression(C=c, tol=1e-10, max_iter=10_000).fit(scaled, targets, **options).decision_function(scaled)


@pytest.mark.parametrize("c", [0.5, 3.0, 50.0])
def test_the_fit_is_scikit_learns_logistic_regression(c):
    torch.manual_seed(0)
    features, labels = torch.randn(30, 50) * torch.rand(50) * 20 + 7, torch.arange(30) % 3
    weight, bias = fit_linear(features, labels, 3, "multi-class", c)
    ours = (features @ weight.T + bias).double()
    theirs = torch.from_numpy(scikit(features.double().numpy(), labels.numpy(), c))
    torch.testing.assert_close(ours.log_softmax(1), theirs.log_softmax(1), atol=2e-3, rtol=0)


def test_soft_labels_are_weighted_copies():
    torch.manual_seed(0)
    features, probabilities = torch.randn(12, 20), torch.rand(12, 2).softmax(1)
    weight, bias = fit_linear(features, probabilities, 2, "binary", 2.0)
    twice = features.double().repeat(2, 1).numpy()
    centred = twice - twice.mean(0)
    scaled = centred / np.sqrt((centred**2).sum(1).mean())
    labels, weights = np.repeat([0, 1], 12), probabilities.T.flatten().numpy()
    # a softmax of two outputs with a penalty on both is a sigmoid of their difference with half the penalty
    theirs = LogisticRegression(C=4.0, tol=1e-10, max_iter=10_000).fit(scaled, labels, sample_weight=weights)
    ours = (features @ weight.T + bias).double()
    expected = torch.from_numpy(theirs.decision_function(scaled[:12]))
    torch.testing.assert_close(ours[:, 1] - ours[:, 0], expected, atol=2e-3, rtol=0)


def test_labels_of_multi_label_data_are_fitted_one_by_one():
    torch.manual_seed(0)
    features = torch.randn(40, 10)
    targets = (features[:, :3] + 0.5 * torch.randn(40, 3) > 0).float()
    weight, bias = fit_linear(features, targets, 3, "multi-label", 2.0)
    for label in range(3):
        theirs = scikit(features.double().numpy(), targets[:, label].numpy(), 2.0)
        ours = features @ weight[label] + bias[label]
        scale = theirs @ ours.double().numpy() / (theirs @ theirs)
        assert np.corrcoef(theirs, ours.numpy())[0, 1] > 0.99
        assert 0.2 < scale < 1.5  # `label_entropy` is a mean over labels: a third of the loss at the same penalty


def test_equal_images_give_the_class_frequencies():
    weight, bias = fit_linear(torch.ones(3, 5), torch.tensor([0, 0, 1]), 2, "binary")
    assert weight.abs().max() == 0
    torch.testing.assert_close(bias.softmax(0), torch.tensor([2 / 3, 1 / 3]), atol=1e-4, rtol=0)


def test_the_cache_embeds_an_image_once_and_forgets_the_oldest():
    seen = []

    def embed(x):
        seen.append(len(x))
        return x.flatten(1) * 2

    cache, x = FeatureCache(max_bytes=3 * 4 * 4), torch.arange(12.0).reshape(3, 1, 2, 2)
    x = torch.cat([x, x[:1]])
    assert torch.equal(cache.features("a", embed, x), x.flatten(1) * 2)
    assert torch.equal(cache.features("a", embed, x[2:]), x[2:].flatten(1) * 2)
    assert (seen, len(cache)) == ([3], 3)
    cache.features("b", embed, x[:1])  # another encoder, and no room: the oldest goes, which is x[1]
    cache.features("a", embed, x[[0, 2]])
    assert seen == [3, 1]
    cache.features("a", embed, x[1:2])
    assert seen == [3, 1, 1]
    assert len(cache) == 3


def test_images_are_embedded_once_in_an_evaluation(make_data, scoring, embedded):
    data = make_data()
    baselines = ["random", "herding", "kmeans", "full", "full_balanced"]
    rows = evaluate(data=data, ipc=3, baselines=baselines, space="embedding", **scoring)
    assert sum(embedded) == sum(len(labels) for _, labels in data.splits.values())
    assert [row.trained_on for row in rows][:2] == ["random", "herding_embedding"]
    assert rows[1].acc_std == 0  # two students of one set are equal
    assert rows[-1].epochs == 1


def test_predictions_are_those_of_the_whole_network(make_data, encoder_weights):
    data = make_data(num_classes=3)
    evaluator = StudentEvaluator("probe", students=1, architectures=[NAME], weights=encoder_weights)
    trained = evaluator.train(full_data(data.all_train_arrays(), data.spec))
    student = trained.students[0]
    x = data.spec.normalize(torch.from_numpy(data.splits["test"][0]))
    torch.testing.assert_close(student.predict(x), Student.predict(student, x), atol=1e-3, rtol=1e-3)
    offset = torch.tensor([0.0, 5.0, 0.0])
    torch.testing.assert_close(
        replace(student, logit_offset=offset).predict(x) - student.predict(x), offset.expand(18, 3)
    )
    assert all(not tensor.requires_grad for tensor in student.parameters.values())


def test_embedding_selects_by_features_of_the_frozen_encoder(make_data, encoder_weights):
    data = make_data()
    (name,) = resolve_networks([NAME], encoder_weights)
    images, labels = data.train_arrays()
    counted = []
    features = embed_features((images, labels), data.spec, network=name, on_epoch=lambda: counted.append(1))
    encoder = FrozenEncoder(name, data.spec, cache=FeatureCache())
    expected = encoder(data.spec.normalize(torch.from_numpy(images))).numpy()
    np.testing.assert_allclose(features, expected, atol=1e-5)
    assert len(counted) == embedding_epochs("reference", len(labels), name) == 1


def test_results_record_the_digest_and_never_the_path(make_data, scoring, tmp_path, capsys):
    out = tmp_path / "rows.csv"
    evaluate(data=make_data(), ipc=2, baselines=["random"], out=str(out), predictions=str(tmp_path / "p"), **scoring)
    digest = hashlib.sha256(Path(scoring["weights"]["test_efficientnet"]).read_bytes()).hexdigest()
    (row,) = csv.DictReader(out.open())
    assert row["network"] == f"{NAME}@{digest[:12]}"
    assert row["protocol"] == "probe"
    assert f'--weights \'{{"test_efficientnet": "sha256:{digest}"}}\'' in row["command"]
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.parent.name != "telltale_folder"]
    assert len(written) == 2
    assert not any(b"telltale" in path.read_bytes() for path in written)
    assert "telltale" not in capsys.readouterr().out


def test_on_the_command_line(scoring, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = scoring["weights"]["test_efficientnet"]
    main([
        "evaluate", "--data=DigitsDataModule", "--ipc=1", "--baselines", "random", "--protocol=probe", "--students=2",
        "--architectures", NAME, "--weights", f'{{"test_efficientnet": "{file}"}}', "--accelerator=cpu",
    ])  # fmt: skip
    assert "probe protocol" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["evaluate", "--data=DigitsDataModule", "--ipc=1", "--baselines", "random", "--protocol=probe"])
    assert "convnet has no weights; give weights=" in capsys.readouterr().err
    main([
        "coreset", "--data=DigitsDataModule", "--ipc=1", "--space=embedding", "--network", NAME,
        "--weights", f'{{"test_efficientnet": "{file}"}}', "--out=picks", "--accelerator=cpu",
    ])  # fmt: skip
    data, card = read_set(tmp_path / "picks")
    digest = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    assert card["hyper_parameters"]["weights"] == {"test_efficientnet": f"sha256:{digest}"}
    assert "telltale" not in str(card)
    assert len(data.labels) == 10


def test_bad_input_is_refused_before_any_training(make_data, encoder_weights):
    with pytest.raises(ValueError, match="convnet_w16 has no weights"):
        StudentEvaluator("probe", architectures=[NAME, "convnet_w16"], weights=encoder_weights)
    with pytest.raises(ValueError, match=r"an input size \(test_efficientnet:32\) needs weights"):
        StudentEvaluator("probe", architectures=[NAME])
    with pytest.raises(ValueError, match=r"weights of test_efficientnet@0123456789ab are not loaded"):
        StudentEvaluator("probe", architectures=["test_efficientnet@0123456789ab"])
    with pytest.raises(FileNotFoundError, match=r"no weights file none.pth"):
        evaluate(data=make_data(), ipc=1, baselines=["random"], architectures=[NAME], weights={NAME: "none.pth"})


def test_multi_label_data(make_data, scoring):
    images, labels = blobs(3)
    labels = labels[:, 0]
    targets = np.stack([labels != 0, labels == 1, labels == 2], 1).astype(np.int64)
    splits = [(images, targets)] * 3
    data = ArrayDataModule(*splits, name="labels", task="multi-label", augmentation="none", min_combination=2)
    (row,) = evaluate(data=data, ipc=2, baselines=["full"], **scoring)
    assert row.acc > 0.5


def test_in_lightning_with_a_random_baseline(make_data, make_trainer, encoder_weights):
    callback = StudentEvaluation("probe", 2, architectures=[NAME], weights=encoder_weights)
    trainer = make_trainer(max_steps=2, callbacks=[callback])
    trainer.fit(DMDistiller(ipc=2, network="convnet_w16"), datamodule=make_data(steps_per_epoch=1))
    assert {"val/acc", "val/acc_gain_over_random"} <= trainer.callback_metrics.keys()
    (described,) = callback.describe("val")["architectures"]
    assert described.startswith(f"{NAME}@")


def test_finetune_trains_all_weights_and_no_running_statistics(make_data, encoder_weights, monkeypatch):
    data = make_data()
    evaluator = StudentEvaluator("finetune", students=1, architectures=[NAME], weights=encoder_weights)
    evaluator.protocol = replace(evaluator.protocol, epochs=1)
    (student,) = evaluator.train(full_data(data.all_train_arrays(), data.spec)).students
    pretrained = student.network.init_params()
    changed = {name for name, tensor in student.parameters.items() if not torch.equal(tensor, pretrained[name])}
    assert {name for name in student.network.weight_names if "conv" in name} <= changed
    assert not any("running" in name for name in changed)


def test_a_probe_finds_what_differs(make_data, scoring):
    (row,) = evaluate(data=make_data(per_class=30), ipc=1, baselines=["full"], **scoring)
    assert row.acc == 1.0


def test_sets_keep_their_own_statistics(make_data, encoder_weights):
    """Pixels reach the encoder as they are, whatever mean and std a set was normalised by."""
    data = make_data()
    (name,) = resolve_networks([NAME], encoder_weights)
    data.setup()
    pixels = torch.from_numpy(data.splits["val"][0])
    other = replace(data.spec, mean=(10.0,), std=(3.0,))
    one, two = (FrozenEncoder(name, s, cache=FeatureCache())(s.normalize(pixels)) for s in (data.spec, other))
    torch.testing.assert_close(one, two, atol=1e-3, rtol=1e-3)
    assert F.cosine_similarity(one[:1], one[-1:]).item() < 0.9999
