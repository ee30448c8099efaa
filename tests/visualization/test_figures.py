"""Figures of predictions, against plain loops and the libraries that define them."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, recall_score
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from lightning_distill import DataSpec
from lightning_distill.evaluation.metrics.predictions import Predictions
from lightning_distill.report import confusion_figure, figures, reliability_figure
from lightning_distill.visualization.figures import calibration_error, confusion, recall, reliability
from lightning_distill.visualization.style import svg_picture

NAMES = ("ant", "bee <b>&", "cat $x$", "dog")


def predictions(students=3, images=60, names=NAMES, task="multi-class", absent=None, seed=0, scale=2.0):
    random = np.random.default_rng(seed)
    k = len(names)
    spec = DataSpec("toy", (1, 4, 4), tuple(names), (0.0,), (1.0,), task=task)
    if task == "multi-label":
        targets = random.integers(0, 2, (images, k))
        if absent is not None:
            targets[:, absent] = 0
    else:
        targets = random.choice([c for c in range(k) if c != absent], images)
    logits = torch.from_numpy(scale * random.standard_normal((students, images, k))).float()
    return Predictions(logits, torch.from_numpy(targets), spec, list(range(students)), ["convnet"] * students)


def texts(figure):
    return [text.get_text() for axis in figure.axes for text in axis.texts]


@pytest.mark.parametrize("absent", [None, 2])
def test_confusion_counts_every_student_and_image(absent):
    data = predictions(absent=absent)
    pairs = [(int(data.targets[n]), int(data.logits[s, n].argmax())) for s in range(3) for n in range(60)]
    expected = np.zeros((4, 4), int)
    for true, named in pairs:
        expected[true, named] += 1
    np.testing.assert_array_equal(confusion(data), expected)
    np.testing.assert_array_equal(expected, confusion_matrix(*zip(*pairs, strict=True), labels=range(4)))
    assert expected.sum() == 180


def test_a_multi_label_task_has_no_confusion():
    data = predictions(task="multi-label")
    with pytest.raises(ValueError, match="needs one class per image"):
        confusion(data)
    assert list(figures(data)) == ["reliability", "recall"]


def test_the_confusion_figure_prints_shares_of_rows_and_counts():
    data = predictions(absent=2)
    counts = confusion(data)
    shown = texts(confusion_figure(data))
    expected = [
        text
        for i in (0, 1, 3)
        for j in range(4)
        for text in (f"{100 * counts[i, j] / counts[i].sum():.0f} %", f"{counts[i, j]:,}")
    ]
    assert sorted(shown) == sorted(expected)  # nothing in the row of the absent class


@pytest.mark.parametrize(("classes", "printed"), [(12, 288), (13, 169), (25, 625), (26, 0)])
def test_many_classes_have_counts_only_then_nothing(classes, printed):
    data = predictions(names=[f"c{i}" for i in range(classes)], images=20 * classes)
    assert len(texts(confusion_figure(data))) == printed


@pytest.mark.parametrize("scale", [0.1, 2.0, 1000.0])  # 1000: confidences of exactly one
def test_the_bins_are_torchmetrics_own(scale):
    data = predictions(images=400, scale=scale)
    bins = reliability(data)
    confidence = torch.softmax(data.logits, 2).flatten(0, 1).clamp(max=1 - 2**-24)
    pooled = multiclass_calibration_error(confidence, data.targets.repeat(3), 4, 15)
    assert bins.error == pytest.approx(float(pooled), abs=1e-6)
    assert bins.count.sum() == 1200
    assert len(bins.count) == 15


def test_the_bins_by_plain_loops():
    data = predictions(images=200)
    confidence = torch.softmax(data.logits.double(), 2).numpy()
    bins = [[] for _ in range(15)]
    for s in range(3):
        for n in range(200):
            top = int(confidence[s, n].argmax())
            bins[min(14, math.floor(15 * confidence[s, n, top]))].append(
                (confidence[s, n, top], top == data.targets[n])
            )
    result = reliability(data)
    assert result.count.tolist() == [len(members) for members in bins]
    for b, members in enumerate(bins):
        if members:
            assert result.confidence[b] == pytest.approx(np.mean([c for c, _ in members]), abs=1e-6)
            assert result.accuracy[b] == pytest.approx(np.mean([r for _, r in members]), abs=1e-6)
        else:
            assert math.isnan(result.confidence[b])


def test_multi_label_reliability_is_of_every_label():
    data = predictions(task="multi-label", images=100)
    bins = reliability(data)
    flat = binary_calibration_error(torch.sigmoid(data.logits).flatten(), data.targets.repeat(3, 1, 1).flatten(), 15)
    assert bins.count.sum() == 1200
    assert bins.error == pytest.approx(float(flat), abs=1e-6)


def test_a_student_as_sure_as_it_should_be_has_no_error():
    """Half of what it says with 1/2 is right, all of what it says with 1."""
    logits = torch.tensor([[[0.0, 0.0], [0.0, 0.0], [60.0, 0.0], [0.0, 60.0]]])
    spec = DataSpec("toy", (1, 4, 4), ("a", "b"), (0.0,), (1.0,), task="binary")
    data = Predictions(logits, torch.tensor([0, 1, 0, 1]), spec, [0], ["convnet"])
    assert reliability(data).error == pytest.approx(0, abs=1e-7)
    assert calibration_error(data).mean == pytest.approx(0, abs=1e-6)


def test_the_ece_shown_is_that_of_students():
    data = predictions()
    each = [
        float(multiclass_calibration_error(torch.softmax(logits, 1), data.targets, 4, 15)) for logits in data.logits
    ]
    result = calibration_error(data)
    assert result.mean == pytest.approx(np.mean(each))
    assert result.std == pytest.approx(np.std(each, ddof=1))
    assert f"ECE, %: {100 * np.mean(each):.1f} ± {100 * np.std(each, ddof=1):.1f}" in texts(reliability_figure(data))[0]


@pytest.mark.parametrize("task", ["multi-class", "multi-label"])
def test_recall_of_each_class_and_student_without_absent_classes(task):
    data = predictions(task=task, absent=1)
    result = recall(data)
    assert list(result) == ["ant", "cat $x$", "dog"]
    for s in range(3):
        guess = (data.logits[s] > 0).long() if task == "multi-label" else data.logits[s].argmax(1)
        each = recall_score(data.targets, guess, average=None, labels=range(4), zero_division=0)
        for name, values in result.items():
            assert values[s] == pytest.approx(each[NAMES.index(name)])
    assert "no images: no recall" in texts(figures(data)["recall"])


@pytest.mark.parametrize("students", [1, 3])
@pytest.mark.parametrize("task", ["multi-class", "binary", "ordinal", "multi-label"])
def test_every_task_is_drawn_without_pyplot_and_names_are_text(task, students):
    import matplotlib.pyplot as plt

    data = predictions(students, names=NAMES[:2] if task == "binary" else NAMES, task=task)
    for figure in figures(data).values():
        picture = svg_picture(figure)
        assert picture.uri.startswith("data:image/svg+xml;base64,")
    assert plt.get_fignums() == []


def test_a_figure_is_the_same_bytes_twice_and_says_nothing_of_its_maker():
    import base64

    first, second = (svg_picture(confusion_figure(predictions())) for _ in range(2))
    assert first == second
    light = base64.b64decode(first.uri.split(",")[1]).decode()
    ElementTree.fromstring(light)
    assert "bee &lt;b&gt;&amp;" in light
    assert "cat $x$" in light
    for given_away in ("<!DOCTYPE", "metadata", "matplotlib.org", "DejaVu"):
        assert given_away not in light
