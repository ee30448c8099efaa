from __future__ import annotations

import warnings
from dataclasses import replace
from functools import partial

import pytest
import torch
from conftest import blobs

from lightning_distill.evaluation import LabeledSet, Protocol, StudentTrainer
from lightning_distill.evaluation.students.vectorized import VectorizedTrainer
from lightning_distill.spec import DataSpec

SEEDS = [3, 5, 11, 2]
SPEC = DataSpec("blobs", (1, 8, 8), ("0", "1", "2"), (90.0,), (60.0,))
PROTOCOL = Protocol("p", 3, batch_size=8, augmentation="dsa")  # three batches an epoch, the last one smaller


def a_set(seed: int, **learned) -> LabeledSet:
    images, labels = blobs(3, 6, seed=seed)
    return LabeledSet(torch.from_numpy(images[:, None]), torch.from_numpy(labels).long().flatten(), SPEC, **learned)


def soft(seed: int) -> torch.Tensor:
    return torch.rand(18, 3, generator=torch.Generator().manual_seed(seed)).mul(3).softmax(1)


def make_student_trainer(protocol=PROTOCOL, architecture="convnet_w16", **options):
    return StudentTrainer(
        architecture,
        SPEC,
        protocol=protocol,
        images=18,
        students=4,
        **{"compile": "off", "vectorized": True, **options},
    )


def in_turn(trainer, data):
    return [trainer.fit(part, seed) for part, seed in zip(data, SEEDS, strict=False)]


def together(trainer, data, on_epoch=lambda: None):
    """Fails where a student is trained alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StudentTrainer, "fit", lambda *_, **__: pytest.fail("a student was trained alone"))
        return trainer.fit_many(data, SEEDS[: len(data)], on_epoch=on_epoch)


def with_messages(*calls):
    """What the calls return, and every warning they give."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = [call() for call in calls]
    return results, [str(warning.message) for warning in caught]


def assert_equal(students, others, rtol=1e-4, atol=1e-5):
    assert [student.seed for student in students] == [other.seed for other in others]
    for student, other in zip(students, others, strict=True):
        for name, tensor in student.parameters.items():
            assert not tensor.requires_grad
            torch.testing.assert_close(tensor, other.parameters[name], rtol=rtol, atol=atol)


@pytest.mark.parametrize(
    ("protocol", "data"),
    [
        (PROTOCOL, [a_set(0)] * 3),
        (PROTOCOL, [a_set(i) for i in range(3)]),
        (PROTOCOL, [a_set(i, soft_labels=soft(i)) for i in range(3)]),
        (replace(PROTOCOL, decay=False), [a_set(0, soft_labels=soft(0), lr=0.03)] * 3),
        (replace(PROTOCOL, batch_size=256, augmentation="none"), [a_set(i, lr=0.03) for i in range(3)]),
        (replace(PROTOCOL, augmentation="dc_students"), [a_set(0)] * 3),
    ],
    ids=["dsa", "own sets", "soft", "soft and rate, no decay", "one batch, plain", "an augmentation for each image"],
)
def test_together_equals_in_turn(protocol, data):
    trainer = make_student_trainer(protocol)
    students = together(trainer, data)
    assert_equal(students, in_turn(trainer, data))
    apart = students[0].parameters["network.head.weight"] - students[1].parameters["network.head.weight"]
    assert apart.abs().max() > 1e-2


@pytest.mark.parametrize("name", ["mlp", "lenet", "convnet_pool_max", "convnet_layer", "convnet_group"])
def test_other_architectures(name):
    trainer, data = make_student_trainer(replace(PROTOCOL, epochs=0), name), [a_set(0), a_set(1)]
    assert_equal(together(trainer, data), in_turn(trainer, data), atol=1e-4)  # rounding may choose another maximum


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize(("bf16", "atol"), [(False, 1e-3), (True, 5e-2)])
def test_cuda_trains_together_unless_told_otherwise(bf16, atol):
    trainer, data = make_student_trainer(device="cuda", vectorized=None, bf16=bf16), [a_set(0)] * 3
    assert_equal(together(trainer, data), in_turn(trainer, data), atol=atol)


def test_a_cpu_trains_in_turn_unless_told_otherwise():
    trainer, data = make_student_trainer(vectorized=None), [a_set(0)] * 2
    with pytest.raises(pytest.fail.Exception, match="trained alone"):
        together(trainer, data)
    assert_equal(trainer.fit_many(data, SEEDS[:2]), in_turn(trainer, data), rtol=0, atol=0)


def test_bf16_stays_within_the_rounding_of_bf16():
    """Twelve steps; autocast rounds more operations of a student alone than of students together."""
    trainer, data = make_student_trainer(bf16=True), [a_set(0)] * 3
    students, expected = together(trainer, data), in_turn(trainer, data)
    assert_equal(students, expected, rtol=0, atol=5e-2)
    x = SPEC.normalize(data[0].pixels)
    for student, other in zip(students, expected, strict=True):
        assert student.parameters["network.head.weight"].dtype == torch.float32
        torch.testing.assert_close(student.predict(x).softmax(1), other.predict(x).softmax(1), rtol=0, atol=5e-2)


def test_the_random_stream_and_inference_mode_outside_are_left_alone():
    trainer, data = make_student_trainer(), [a_set(0)] * 2
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    with torch.inference_mode():
        inside = together(trainer, data)
        assert torch.equal(torch.rand(2), expected)
    assert_equal(inside, together(trainer, data), rtol=0, atol=0)


def test_batch_norm_is_trained_in_turn_after_one_warning():
    trainer, data = make_student_trainer(architecture="convnet_batch"), [a_set(0)] * 2
    epochs = []
    train = partial(trainer.fit_many, data, SEEDS[:2], on_epoch=lambda: epochs.append(1))
    (students, again), messages = with_messages(train, train)
    assert messages == ["students of 'convnet_batch' are trained in turn, slower (batch norm keeps running statistics)"]
    assert len(epochs) == 2 * 2 * 4
    assert_equal(students, in_turn(trainer, data), rtol=0, atol=0)
    assert_equal(students, again, rtol=0, atol=0)


class Undecided(torch.nn.Module):
    """A network whose path depends on what it sees."""

    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(64, 3)

    def forward(self, x):
        return self.head(x.flatten(1) if x.sum() > 0 else -x.flatten(1))


def test_what_vmap_refuses_is_trained_in_turn_after_one_warning(monkeypatch):
    monkeypatch.setattr("lightning_distill.functional.build.create_network", lambda *_: Undecided())
    trainer, data = make_student_trainer(architecture="undecided"), [a_set(0)] * 2
    train = partial(trainer.fit_many, data, SEEDS[:2])
    (students, _), messages = with_messages(train, train)
    assert len(messages) == 1
    assert "'undecided' are trained in turn, slower (vmap: " in messages[0]
    assert_equal(students, in_turn(trainer, data), rtol=0, atol=0)


def test_unlike_sets_are_trained_in_turn():
    trainer = make_student_trainer()
    one, other = a_set(0), a_set(0, lr=0.1)
    smaller = replace(one, pixels=one.pixels[::2], labels=one.labels[::2])
    for data in ([one, other], [one, smaller]):
        assert_equal(trainer.fit_many(data, SEEDS[:2]), in_turn(trainer, data), rtol=0, atol=0)


def narrow_memory(monkeypatch, most: int, epoch: int):
    """Every attempt with more students than ``most`` ends in the given epoch. Returns the sizes that were tried."""
    tried, train = [], VectorizedTrainer._fit_chunk

    def attempt(self, data, seeds, on_epoch):
        tried.append(len(seeds))
        if len(seeds) <= most:
            return train(self, data, seeds, on_epoch)
        for _ in range(epoch * len(seeds)):
            on_epoch()
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(VectorizedTrainer, "_fit_chunk", attempt)
    return tried


@pytest.mark.parametrize(("most", "tries"), [(4, [4]), (2, [4, 2, 2]), (1, [4, 2, 1, 1, 1, 1])])
@pytest.mark.parametrize("epoch", [0, 2])
def test_fewer_at_once_where_memory_ends_same_result_same_epochs(most, tries, epoch, monkeypatch):
    trainer, data, epochs = make_student_trainer(), [a_set(i) for i in range(4)], []
    tried = narrow_memory(monkeypatch, most, epoch)
    (students,), messages = with_messages(lambda: together(trainer, data, lambda: epochs.append(1)))
    once = ["4 students of 'convnet_w16' at once do not fit into memory; training fewer at once"]
    assert messages == (once if most < 4 else [])
    assert tried == tries
    assert len(epochs) == 4 * 4
    assert_equal(students, in_turn(trainer, data))
    together(trainer, data)
    assert set(tried[len(tries) :]) == {most}  # what was learned about memory is kept


def test_a_single_student_that_does_not_fit_is_an_error(monkeypatch):
    narrow_memory(monkeypatch, 0, 0)
    with pytest.warns(UserWarning, match="do not fit"), pytest.raises(torch.OutOfMemoryError):
        together(make_student_trainer(), [a_set(0)] * 2)
