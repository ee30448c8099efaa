from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from conftest import blobs
from safetensors.numpy import save_file

from lightning_distill.evaluation import (
    LabeledSet,
    Predictions,
    Protocol,
    Scores,
    StudentEvaluator,
    TrainedStudents,
    class_recalls,
    compute_metrics,
)
from lightning_distill.sets.storage import save_set
from lightning_distill.spec import DataSpec


def make_spec(num_classes: int = 3, task="multi-class") -> DataSpec:
    return DataSpec("numbers", (1, 8, 8), tuple(f"c{k}" for k in range(num_classes)), (90.0,), (60.0,), task=task)


def make(task="multi-class", grouped=True, **changes) -> Predictions:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 2, (5, 3)) if task == "multi-label" else torch.tensor([0, 1, 2, 1, 0])
    fields = {
        "logits": torch.randn(2, 5, 3, generator=generator),
        "targets": targets,
        "spec": make_spec(task=task),
        "seeds": [4, 5],
        "architectures": ["mlp", "convnet_w16"],
        "groups": torch.tensor([7, 7, 8, 9, 9]) if grouped else None,
        "split": "val",
    }
    return Predictions(**{**fields, **changes})


@pytest.mark.parametrize("groups", [True, False])
@pytest.mark.parametrize("task", ["multi-class", "multi-label", "ordinal"])
def test_a_file_gives_back_what_was_written(task, groups, tmp_path):
    written = make(task, groups)
    again = Predictions.read(written.write(tmp_path / "new" / "p.safetensors"))
    assert torch.equal(again.logits, written.logits)
    assert torch.equal(again.targets, written.targets)
    assert torch.equal(again.groups, written.groups) if groups else again.groups is None
    assert (again.spec, again.split) == (written.spec, "val")
    assert (list(again.seeds), list(again.architectures)) == ([4, 5], ["mlp", "convnet_w16"])
    assert again.logits.dtype == torch.float32
    assert again.targets.dtype == torch.int64
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["p.safetensors"]


def test_a_crash_while_writing_leaves_the_older_file(tmp_path, monkeypatch):
    path = make().write(tmp_path / "p.safetensors")
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lightning_distill.sets.storage.os.replace", full)
    with pytest.raises(OSError, match="No space"):
        make(split="test").write(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no predictions file 'p.safetensors'"):
        Predictions.read(tmp_path / "p.safetensors")
    images, labels = blobs(3, 2)
    a_set = LabeledSet(torch.from_numpy(images[:, None]), torch.from_numpy(labels).long().flatten(), make_spec())
    with pytest.raises(ValueError, match=r"set.safetensors is not a predictions file: its metadata hold no"):
        Predictions.read(save_set(tmp_path, a_set, {}))
    path = tmp_path / "other.safetensors"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"other.safetensors is not a predictions file"):
        Predictions.read(path)
    about = {"spec": make_spec().to_dict(), "seeds": [0], "architectures": ["mlp"], "split": "test"}
    arrays = {"logits": np.zeros((1, 5, 3), np.float32), "targets": np.zeros(4, np.int64)}
    save_file(arrays, path, {"predictions": json.dumps(about)})
    with pytest.raises(ValueError, match=r"targets of 5 images are \(4,\), expected \(5,\)"):
        Predictions.read(path)
    save_file(arrays, path, {"predictions": json.dumps({"seeds": [0]})})
    with pytest.raises(ValueError, match="not a predictions file: 'spec'"):
        Predictions.read(path)
    whole = make().write(path).read_bytes()
    path.write_bytes(whole[:-8])
    with pytest.raises(ValueError, match="not a predictions file"):
        Predictions.read(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"logits": torch.zeros(5, 3)}, r"logits are \(5, 3\), expected \(students, images, 3\)"),
        ({"logits": torch.zeros(2, 5, 4)}, r"expected \(students, images, 3\)"),
        ({"targets": torch.zeros(5, 1)}, r"targets of 5 images are \(5, 1\), expected \(5,\)"),
        ({"spec": make_spec(task="multi-label")}, r"are \(5,\), expected \(5, 3\)"),
        ({"groups": torch.zeros(4)}, r"groups of 5 images are \(4,\)"),
        ({"seeds": [1]}, "2 students with 1 seeds and 2 architectures"),
    ],
)
def test_shapes_must_belong_together(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


@pytest.mark.parametrize("temperatures", [[1.0], [1.0, 0.0], [1.0, math.nan], [1.0, math.inf]])
def test_temperatures_are_positive_and_one_a_student(temperatures):
    with pytest.raises(ValueError, match="give one per student"):
        make().with_temperatures(temperatures)


def test_probabilities():
    p = make().probabilities
    assert p.dtype == torch.float32
    torch.testing.assert_close(p.sum(2), torch.ones(2, 5))
    z = make("multi-label")
    torch.testing.assert_close(z.probabilities, 1 / (1 + torch.exp(-z.logits)))


@pytest.fixture(scope="module")
def trained_students():
    """Two students of two architectures each before 18 images in batches."""
    images, labels = blobs(3, 6)
    x, y = torch.from_numpy(images[:, None]), torch.from_numpy(labels).long()
    data = LabeledSet(x, y.flatten(), make_spec())
    evaluator = StudentEvaluator(
        Protocol("p", 2), students=2, architectures=["mlp", "convnet_w16"], seed=3, compile="off"
    )
    students = evaluator.train(lambda i: data)
    x = data.spec.normalize(x)
    for rows in torch.arange(18).split(7):
        students.update(x[rows], y[rows])
    return students, x, y.flatten()


def test_a_sitting_gives_the_predictions_its_scores_come_from(trained_students):
    trained, x, y = trained_students
    groups = torch.arange(18) // 2
    predictions, scores = trained.predictions("val", groups), trained.scores()
    assert (predictions.split, predictions.spec, predictions.seeds) == ("val", make_spec(), [3, 4, 3, 4])
    assert predictions.architectures == ["mlp", "mlp", "convnet_w16", "convnet_w16"]
    assert torch.equal(predictions.targets, y)
    assert torch.equal(predictions.groups, groups)
    for student, logits in zip(trained.students, predictions.logits, strict=True):
        torch.testing.assert_close(logits, student.predict(x), rtol=1e-4, atol=1e-5)
    assert scores.students == [compute_metrics(logits, y, predictions.spec) for logits in predictions.logits]
    assert scores.recalls == [class_recalls(logits, y, predictions.spec) for logits in predictions.logits]
    assert scores.diverged == []


def test_students_that_diverge_keep_their_place_and_are_named_once(trained_students):
    trained, x, y = trained_students
    gone = trained.students[1]
    broken = type(gone)(
        gone.architecture,
        gone.seed,
        gone.network,
        {name: tensor * math.nan for name, tensor in gone.parameters.items()},
        False,
    )
    again = TrainedStudents([trained.students[0], broken], make_spec(), device="cpu", started_at=0.0)
    again.update(x, y)
    with pytest.warns(UserWarning, match=r"diverged.* \('mlp' with seed 4\): counted") as record:
        scores, predictions = again.scores(), again.predictions("test")
    assert len(record) == 1
    assert scores.diverged == [4]
    assert scores.seeds == [3, 4]
    assert scores.values("nll")[1] == pytest.approx(math.log(3))
    assert scores.values("balanced_acc")[1] == pytest.approx(1 / 3)
    assert torch.equal(predictions.logits[1], torch.zeros(18, 3))
    alone = trained.predictions("test").logits[0]
    torch.testing.assert_close(predictions.logits[0], alone, rtol=1e-4, atol=1e-5)


class Fixed:
    """A student that says what it was told to."""

    architecture, seed = "fixed", 0

    def __init__(self, logits):
        self.logits = logits

    def predict(self, x):
        return self.logits


def test_multi_label_batches_and_a_label_nobody_has():
    y = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]], dtype=torch.uint8)
    spec = make_spec(task="multi-label")
    students = TrainedStudents([Fixed(torch.randn(4, 3))], spec, device="cpu", started_at=0.0)
    students.update(torch.zeros(4, 1, 8, 8), y)
    with pytest.warns(UserWarning, match="no real images with and without 'c2' to score on"):
        scores = students.scores()
    assert set(scores.recalls[0]) == {"c0", "c1"}
    assert torch.equal(students.predictions("test").targets, y.long())


def test_a_single_image_can_be_seen():
    for task, y in (("multi-class", torch.tensor([[2]])), ("multi-label", torch.tensor([[1, 0, 1]]))):
        students = TrainedStudents([Fixed(torch.ones(1, 3))], make_spec(task=task), device="cpu", started_at=0.0)
        students.update(torch.zeros(1, 1, 8, 8), y)
        assert students.predictions("val").logits.shape == (1, 1, 3)


def test_the_worst_class_is_that_of_the_mean_over_students():
    scores = Scores([{"acc": 0.5}] * 3, [0, 1, 0], ["a", "a", "b"])
    assert scores.worst_class is None
    scores.recalls = [{"x": 0.1, "y": 0.4}, {"x": 0.9, "y": 0.3}, {"x": 0.9, "y": 0.4}]
    assert scores.worst_class == "y"


def test_scores_apart_for_each_architecture():
    scores = Scores([{"acc": 0.5}, {"acc": 0.6}, {"acc": 0.7}], [0, 0, 1], ["b", "a", "b"])
    assert scores.by_architecture("acc") == {"b": [0.5, 0.7], "a": [0.6]}


@pytest.mark.parametrize("task", ["multi-class", "multi-label"])
def test_a_groups_prediction_is_the_mean_probability_over_its_images(task):
    predictions = make(task, groups=torch.tensor([7, 9, 7, 8, 7]))
    targets = predictions.targets.clone()
    targets[[2, 4]] = targets[0].clone()
    pooled = (predictions := make(task, groups=predictions.groups, targets=targets)).by_group()
    rows = {7: [0, 2, 4], 8: [3], 9: [1]}
    assert pooled.groups.tolist() == [7, 8, 9]
    assert pooled.logits.shape == (2, 3, 3)
    for place, images in enumerate(rows.values()):
        assert torch.equal(pooled.targets[place], targets[images[0]])
        for student in range(2):
            logits = predictions.logits[student].numpy().astype(np.float64)
            exp = np.exp(logits)
            each = 1 / (1 + np.exp(-logits)) if task == "multi-label" else exp / exp.sum(1, keepdims=True)
            expected = sum(each[image] for image in images) / len(images)
            np.testing.assert_allclose(pooled.probabilities[student, place], expected, atol=1e-6)
    again = pooled.by_group()
    np.testing.assert_allclose(again.probabilities, pooled.probabilities, atol=1e-6)


def test_certain_students_stay_finite_by_group():
    logits = torch.tensor([[[1000.0, -1000.0, 0.0], [1000.0, 0.0, -1000.0]]])
    predictions = make(logits=logits, targets=torch.tensor([0, 0]), groups=torch.tensor([3, 3]), seeds=[0],
                 architectures=["mlp"])  # fmt: skip
    pooled = predictions.by_group()
    assert pooled.logits.isfinite().all()
    assert pooled.logits[0, 0].argmax() == 0


def test_groups_that_are_unknown_or_of_several_labels_are_refused():
    with pytest.raises(ValueError, match="the groups of 5 images are unknown; leave out --by_group"):
        make(grouped=False).by_group()
    with pytest.raises(ValueError, match="images have a different label than their group; leave out --by_group"):
        make().by_group()
