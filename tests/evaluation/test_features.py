"""Features of a trained network, and the baselines chosen by them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lightning_distill import create_network
from lightning_distill.evaluation import Protocol, StudentTrainer, coreset_sampler, full_data
from lightning_distill.evaluation.baselines import balanced_counts, class_balanced_full_data
from lightning_distill.evaluation.features import embed_features, embedding_epochs
from lightning_distill.utils.rng import derive_seed

WAY = Protocol("short", 4, batch_size=7)


@pytest.mark.parametrize("name", ["convnet_w16", "convnet_batch", "mlp"])
def test_features_are_those_of_a_student_of_all_real_images(name, make_data):
    data = make_data(channels=3)
    real, spec, ticks = data.train_arrays(), data.spec, []
    features = embed_features(real, spec, network=name, protocol=WAY, seed=3, on_epoch=lambda: ticks.append(1))
    assert len(ticks) == embedding_epochs(WAY, len(real[1])) == 5
    student = StudentTrainer(name, spec, protocol=WAY, images=len(real[1]), students=1).fit(
        full_data(real, spec)(0), derive_seed("embedding", 3)
    )
    network = create_network(name, 3, spec.num_classes, spec.shape[1:])
    network.load_state_dict({name.removeprefix("network."): p for name, p in student.parameters.items()})
    x = (torch.from_numpy(np.ascontiguousarray(real[0])).float() - torch.tensor(spec.mean)[:, None, None]) / (
        torch.tensor(spec.std)[:, None, None]
    )
    with torch.no_grad():
        expected = network.eval().embed(x)
        logits = network(x)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected.numpy(), rtol=1e-4, atol=1e-5)
    assert torch.equal(student.predict(x).argmax(1), logits.argmax(1))


def test_features_are_seeded_and_leave_the_random_stream_alone(make_data):
    data = make_data()
    real = data.train_arrays()
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    first, again, other = (
        embed_features(real, data.spec, network="convnet_w16", protocol=WAY, seed=seed) for seed in (0, 0, 1)
    )
    assert torch.equal(torch.rand(1), expected)
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


def test_training_brings_images_of_a_class_together(make_data):
    data = make_data()
    real = data.train_arrays()
    features = embed_features(real, data.spec, network="convnet_w16", protocol=Protocol("p", 40))
    labels = real[1]
    within = np.mean([features[labels == c].var(0).sum() for c in (0, 1)])
    between = np.square(features[labels == 0].mean(0) - features[labels == 1].mean(0)).sum()
    assert between > within


def test_picks_are_made_on_features_where_there_are_some(make_data):
    data = make_data()
    real = data.train_arrays()
    features = np.zeros((len(real[1]), 1), np.float32)
    counts = [3, 20]
    for label in (0, 1):
        members = np.flatnonzero(real[1] == label)
        features[members] = 1 + np.arange(len(members))[:, None] % 5
        features[counts[label]] = features[members].mean()  # nearest to the mean of its class
    picked = coreset_sampler("herding", real, [1, 1], data.spec, 0, features)(0)
    assert np.array_equal(picked.pixels.numpy(), real[0][counts])
    assert picked.labels.tolist() == [0, 1]


def test_all_real_data_in_equal_parts(make_data):
    data = make_data(3)
    images, labels = data.train_arrays()
    kept = np.r_[0:5, 12:24, 24:33]
    images, labels = images[kept], labels[kept]  # 5, 12 and 9 images
    sampler = class_balanced_full_data((images, labels), data.spec, 0)
    assert balanced_counts(labels, data.spec) == [5, 5, 5]
    first, second = sampler(0), sampler(1)
    assert first.labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert len(first.pixels.unique(dim=0)) == 15
    assert not torch.equal(first.pixels, second.pixels)
    assert torch.equal(first.pixels, sampler(0).pixels)


def test_several_labels_an_image_are_refused(make_data):
    data = make_data()
    images, labels = data.train_arrays()
    with pytest.raises(ValueError, match=r"labels have shape \(24, 2\)"):
        embed_features((images, np.eye(2, dtype=int)[labels]), data.spec)
