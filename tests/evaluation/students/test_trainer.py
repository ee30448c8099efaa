from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import blobs

from lightning_distill.augmentation.siamese import SiameseAugmentation
from lightning_distill.evaluation import (
    LabeledSet,
    Protocol,
    StudentEvaluator,
    StudentTrainer,
    coreset_sampler,
    evaluate_students,
    full_data,
)
from lightning_distill.functional.compile import compiler_available
from lightning_distill.networks import create_network
from lightning_distill.utils.rng import derive_seed


@pytest.fixture
def data(make_data):
    return make_data()


@pytest.fixture
def training_set(data):
    images, labels = data.train_arrays()
    return LabeledSet(torch.from_numpy(images.copy()), torch.from_numpy(labels), data.spec)


def plain_student(data: LabeledSet, protocol: Protocol, seed: int) -> torch.nn.Module:
    """The protocol with an ordinary module and an ordinary optimizer, in eager float32."""
    torch.manual_seed(derive_seed("student", "convnet_w16", seed))
    spec = data.spec
    network = create_network("convnet_w16", spec.shape[0], spec.num_classes, spec.shape[1:])
    augment = SiameseAugmentation(protocol.augmentation or spec.augmentation, spec.shape[1:])
    x = spec.normalize(data.pixels)
    lr = protocol.lr
    velocity = [torch.zeros_like(p) for p in network.parameters()]
    for epoch in range(protocol.epochs + 1):
        order = torch.randperm(len(x))
        for start in range(0, len(x), protocol.batch_size):
            rows = order[start : start + protocol.batch_size]
            loss = F.cross_entropy(network(augment.plain(x[rows])), data.labels[rows])
            gradients = torch.autograd.grad(loss, list(network.parameters()))
            with torch.no_grad():
                for p, g, v in zip(network.parameters(), gradients, velocity, strict=True):
                    v.mul_(protocol.momentum).add_(g + protocol.weight_decay * p)
                    p.sub_(lr * v)
        if epoch == protocol.epochs // 2 + 1:
            lr *= 0.1
    return network


@pytest.mark.parametrize("batch_size", [256, 7])
def test_equals_a_plain_training_loop(training_set, batch_size):
    protocol = Protocol("p", 6, batch_size=batch_size, augmentation="dsa")
    trainer = StudentTrainer("convnet_w16", training_set.spec, protocol=protocol, images=24, students=1, compile="off")
    student = trainer.fit(training_set, seed=3)
    expected = plain_student(training_set, protocol, 3)
    for name, parameter in expected.named_parameters():
        torch.testing.assert_close(student.parameters[f"network.{name}"], parameter, rtol=1e-4, atol=1e-5)
    x = training_set.spec.normalize(training_set.pixels)
    torch.testing.assert_close(student.predict(x), expected(x), rtol=1e-4, atol=1e-4)


def test_learns_what_can_be_learned_and_is_reproducible(data, training_set):
    evaluator = StudentEvaluator(Protocol("p", 60), students=2, architectures=["convnet_w16"])
    first, again = (evaluate_students(evaluator, lambda i: training_set, data.test_dataloader()) for _ in range(2))
    assert first.mean("acc") > 0.9
    assert first.students == again.students
    other = evaluate_students(
        StudentEvaluator(Protocol("p", 60), students=2, architectures=["convnet_w16"], seed=9),
        lambda i: training_set,
        data.test_dataloader(),
    )
    assert other.seeds == [9, 10]


def test_trains_inside_inference_mode_and_leaves_the_random_stream_alone(training_set):
    trainer = StudentTrainer("convnet_w16", training_set.spec, protocol=Protocol("p", 2), images=24, students=1)
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    with torch.inference_mode():
        inside = trainer.fit(training_set, 0)
        assert torch.equal(torch.rand(2), expected)
    outside = trainer.fit(training_set, 0)
    for name, tensor in outside.parameters.items():
        assert torch.equal(tensor, inside.parameters[name])


@pytest.mark.skipif(not compiler_available(), reason="no C++ compiler")
def test_compiled_students_score_like_eager_ones(data, training_set):
    protocol = Protocol("p", 5, augmentation="none")
    scores = [
        evaluate_students(
            StudentEvaluator(protocol, students=1, architectures=["convnet_w16"], compile=mode),
            lambda i: training_set,
            data.test_dataloader(),
        )
        for mode in ("off", "max")
    ]
    assert scores[0].mean("auroc") == pytest.approx(scores[1].mean("auroc"), abs=0.02)


@pytest.mark.parametrize("name", ["convnet_batch", "mlp", "test_resnet"])
def test_any_architecture_can_be_a_student(name, data, training_set):
    scores = evaluate_students(
        StudentEvaluator("tiny", students=1, architectures=[name]), lambda i: training_set, data.test_dataloader()
    )
    assert scores.architectures == [name]
    assert 0 <= scores.mean("acc") <= 1


def test_batch_norm_students_are_scored_with_running_statistics(data, training_set):
    trainer = StudentTrainer("convnet_batch", training_set.spec, protocol=Protocol("p", 3), images=24, students=1)
    student = trainer.fit(training_set, 0)
    x = training_set.spec.normalize(training_set.pixels)
    torch.testing.assert_close(student.predict(x)[:1], student.predict(x[:1]), rtol=1e-4, atol=1e-5)


def test_random_baseline_draws_anew_for_every_student_and_keeps_counts(data):
    sampler = coreset_sampler("random", data.train_arrays(), [3, 2], data.spec, seed=0)
    first, second = sampler(0), sampler(1)
    assert first.labels.tolist() == [0, 0, 0, 1, 1]
    assert not torch.equal(first.pixels, second.pixels)
    assert torch.equal(first.pixels, sampler(0).pixels)
    herded = coreset_sampler("herding", data.train_arrays(), [3, 2], data.spec, seed=0)
    assert torch.equal(herded(0).pixels, herded(1).pixels)


def test_everything_is_every_training_image(data):
    whole = full_data(data.train_arrays(), data.spec)(0)
    assert np.array_equal(whole.pixels.numpy(), data.train_arrays()[0])
    assert whole.labels.bincount().tolist() == [12, 12]


def test_absent_class_is_named(data, training_set):
    images, labels = blobs(2, 4)
    only = [(torch.from_numpy(images[:4, None]), torch.from_numpy(labels[:4]))]
    with pytest.warns(UserWarning, match="no real images of '1'"):
        scores = evaluate_students(
            StudentEvaluator("tiny", students=1, architectures=["mlp"]), lambda i: training_set, only
        )
    assert scores.values("balanced_acc") == scores.values("acc")


def test_bad_evaluators_are_refused():
    with pytest.raises(ValueError, match="students=0"):
        StudentEvaluator(students=0)
    with pytest.raises(ValueError, match=r"unknown network 'resnet81'; closest names: .*resnet18"):
        StudentEvaluator(architectures=["resnet81"])


def test_interval_over_students():
    from lightning_distill.evaluation import Scores

    scores = Scores([{"acc": 0.8}, {"acc": 0.9}, {"acc": 1.0}], [0, 1, 2], ["a"] * 3)
    assert scores.mean("acc") == pytest.approx(0.9)
    assert scores.std("acc") == pytest.approx(0.1)
    assert scores.half_interval("acc") == pytest.approx(4.302653 * 0.1 / 3**0.5, rel=1e-5)  # t(2 degrees, .975)
    single = Scores([{"acc": 0.8}], [0], ["a"])
    assert single.std("acc") != single.std("acc")


def plain_learner(data, seed, protocol, architecture="convnet_w16"):
    """Soft targets and a rate of the set's own, by modules and torch.optim."""
    torch.manual_seed(derive_seed("student", architecture, seed))
    net = create_network(architecture, data.spec.shape[0], data.spec.num_classes, data.spec.shape[1:])
    rate = data.lr if data.lr is not None else protocol.lr
    targets = data.labels if data.soft_labels is None else data.soft_labels
    sgd = torch.optim.SGD(net.parameters(), lr=rate, momentum=protocol.momentum, weight_decay=protocol.weight_decay)
    x = data.spec.normalize(data.pixels)
    for epoch in range(protocol.epochs + 1):
        rows = torch.randperm(len(x))
        sgd.zero_grad()
        F.cross_entropy(net(x[rows]), targets[rows]).backward()
        sgd.step()
        if epoch == protocol.epochs // 2 + 1 and protocol.decay:
            sgd.param_groups[0]["lr"] = rate * 0.1
    return net


@pytest.mark.parametrize("learned", ["soft", "lr", "both"])
@pytest.mark.parametrize("decay", [True, False])
def test_students_learn_from_what_a_set_has_learned(learned, decay, training_set):
    soft = torch.rand(len(training_set.labels), 2, generator=torch.Generator().manual_seed(0)).softmax(1)
    changes = {"soft_labels": soft} if learned != "lr" else {}
    data = replace(training_set, **changes, **({"lr": 0.05} if learned != "soft" else {}))
    protocol = Protocol("short", 6, augmentation="none", decay=decay)
    student = StudentTrainer("convnet_w16", data.spec, protocol=protocol, images=len(data.labels), students=1).fit(
        data, 3
    )
    for name, expected in plain_learner(data, 3, protocol).named_parameters():
        torch.testing.assert_close(student.parameters[f"network.{name}"], expected.detach(), rtol=1e-4, atol=1e-5)
    hard = StudentTrainer("convnet_w16", data.spec, protocol=protocol, images=len(data.labels), students=1).fit(
        training_set, 3
    )
    apart = [(hard.parameters[name] - tensor).abs().max() for name, tensor in student.parameters.items()]
    assert max(apart) > 1e-4


def test_on_epoch_parameters_gets_the_parameters_before_and_after_every_epoch(training_set):
    seen: dict[int, torch.Tensor] = {}
    trainer = StudentTrainer(
        "convnet_w16", training_set.spec, protocol=Protocol("short", 2), images=len(training_set.labels), students=1
    )

    def record(epoch, parameters):
        seen[epoch] = parameters["network.head.weight"].detach().clone()

    student = trainer.fit(training_set, 0, on_epoch_parameters=record)
    assert list(seen) == [0, 1, 2, 3]
    assert torch.equal(seen[3], student.parameters["network.head.weight"])
    assert not torch.equal(seen[0], seen[1])
    without = trainer.fit(training_set, 0)
    assert torch.equal(without.parameters["network.head.weight"], seen[3])
