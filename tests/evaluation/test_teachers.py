"""Teachers: the label formula against a re-derivation, temperature, priors, bad teachers, and their file."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from lightning_distill import ArrayDataModule, load_teachers, save_teachers, train_teachers
from lightning_distill.augmentation.siamese import SiameseAugmentation
from lightning_distill.evaluation import Protocol
from lightning_distill.evaluation.label_prior import class_frequencies, prior_logit_offset
from lightning_distill.evaluation.metrics.probability_errors import negative_log_likelihood
from lightning_distill.evaluation.teachers import teacher_epochs
from lightning_distill.networks import create_network
from lightning_distill.utils.rng import derive_seed

SHORT = Protocol("short", 20)


@pytest.fixture
def data(make_data):
    return make_data(num_classes=3, per_class=12)


@pytest.fixture
def teachers(data):
    return train_teachers(data, 2, network="convnet_w16", protocol=SHORT)


def modules(teachers):
    """The teachers as ordinary modules, built without this package's functional network."""
    built = []
    for parameters in teachers.parameters:
        network = create_network(teachers.network, teachers.spec.shape[0], teachers.spec.num_classes, (8, 8))
        network.load_state_dict({name.removeprefix("network."): value for name, value in parameters.items()})
        built.append(network.eval())
    return built


def probabilities_by_hand(teachers, images, views, offset=0.0, seed=0):
    """Mean over teachers and views of softmax(logits / T + offset), in numpy, image by image."""
    augment = SiameseAugmentation(teachers.augmentation, teachers.spec.shape[1:])
    total, count = np.zeros((len(images), teachers.spec.num_classes)), 0
    mean, std = teachers.spec.mean[0], teachers.spec.std[0]
    for row in range(len(images)):
        x = (images[row : row + 1].float() - mean) / std
        for view in range(views):
            viewed = augment.of_classes(x, [1], [derive_seed("view", seed, view)])
            for network in modules(teachers):
                with torch.no_grad():
                    z = network(viewed)[0].double().numpy() / teachers.temperature + np.asarray(offset)
                total[row] += np.exp(z) / np.exp(z).sum()
    count = views * len(teachers.parameters)
    return total / count


def test_a_label_is_the_mean_over_teachers_and_views_of_the_scaled_softmax(data, teachers):
    images = torch.from_numpy(data.train_arrays()[0][::5])
    labels = teachers.label(images, views=3, seed=4)
    assert labels.dtype == torch.float32
    assert np.allclose(labels.numpy(), probabilities_by_hand(teachers, images, 3, seed=4), atol=1e-5)
    assert torch.allclose(labels.sum(1), torch.ones(len(images)))
    alone = teachers.label(images[2:3], views=3, seed=4)  # other images do not matter
    assert torch.allclose(alone, labels[2:3], atol=1e-6)


def test_without_views_the_image_itself_is_labelled(data, teachers):
    images = torch.from_numpy(data.train_arrays()[0][:4])
    x = teachers.spec.normalize(images)
    with torch.no_grad():
        expected = torch.stack([(net(x) / teachers.temperature).softmax(1) for net in modules(teachers)]).mean(0)
    assert torch.allclose(teachers.label(images, views=0), expected, atol=1e-5)
    plain = replace(teachers, augmentation="none")
    assert torch.equal(plain.label(images, views=5), plain.label(images, views=0))


def test_the_balanced_prior_is_logit_adjustment_by_the_training_frequencies(data, teachers):
    images = torch.from_numpy(data.train_arrays()[0][:6])
    uneven = replace(teachers, frequencies=torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64))
    by_hand = probabilities_by_hand(uneven, images, 2, offset=-np.log([0.7, 0.2, 0.1]))
    assert np.allclose(uneven.label(images, views=2, prior="balanced").numpy(), by_hand, atol=1e-5)
    assert torch.equal(uneven.label(images, views=2), teachers.label(images, views=2))
    even = teachers.label(images, views=2, prior="balanced")  # the training data of these teachers are balanced
    assert torch.allclose(even, teachers.label(images, views=2), atol=1e-6)


def test_bayes_rule_holds_for_the_balanced_prior():
    """Of a posterior under the training frequencies, the adjusted one is that under equal frequencies."""
    frequency = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    likelihood = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    spec = replace(ArrayDataModule(*[(np.zeros((3, 8, 8), np.uint8), np.arange(3))] * 3).spec, name="x")
    logits = (frequency * likelihood).log()
    adjusted = (logits + prior_logit_offset(frequency, "balanced", spec)).softmax(0)
    assert torch.allclose(adjusted, likelihood / likelihood.sum(), atol=1e-6)


def test_the_temperature_minimises_the_likelihood_on_val(data, teachers):
    x, y = (torch.cat(part) for part in zip(*data.val_dataloader(), strict=True))
    with torch.no_grad():
        logits = torch.cat([net(teachers.spec.normalize(x)) for net in modules(teachers)])
    targets = y.flatten().repeat(2)

    def loss(value: float) -> float:
        return negative_log_likelihood(logits / value, targets, teachers.spec)

    assert 0.01 < teachers.temperature < 100
    grid = [teachers.temperature * math.exp(step) for step in np.linspace(-2, 2, 41)]
    assert loss(teachers.temperature) <= min(map(loss, grid)) + 1e-9


def test_equal_seeds_give_equal_teachers_and_other_seeds_others(data, teachers):
    again = train_teachers(data, 2, network="convnet_w16", protocol=SHORT)
    other = train_teachers(data, 2, network="convnet_w16", protocol=SHORT, seed=1)
    images = torch.from_numpy(data.train_arrays()[0][:5])
    assert torch.equal(again.label(images), teachers.label(images))
    assert not torch.equal(other.label(images), teachers.label(images))
    assert not torch.equal(teachers.label(images, seed=1), teachers.label(images))
    state = torch.get_rng_state()
    teachers.label(images)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_record_names_the_training_and_every_epoch_is_reported(data):
    epochs = []
    trained = train_teachers(data, 2, network="convnet_w16", protocol=SHORT, on_epoch=lambda: epochs.append(1))
    assert len(epochs) == teacher_epochs(data, 2, SHORT) == 2 * 21
    assert trained.record == {
        "teachers": 2, "data": "blobs", "network": "convnet_w16", "protocol": "short", "epochs": 21, "seed": 0,
        "temperature": round(trained.temperature, 4), "val_balanced_acc": trained.record["val_balanced_acc"],
    }  # fmt: skip
    assert all(score > 1 / 3 for score in trained.record["val_balanced_acc"])


def test_teachers_at_chance_are_refused(make_data):
    data = make_data(num_classes=2, per_class=12)
    images, labels = data.all_train_arrays()
    noise = np.random.default_rng(0).integers(0, 255, images.shape, dtype=np.uint8)
    constant = np.full_like(images[:12, 0], 7)
    val = (constant, np.repeat([0, 1], 6))
    bad = ArrayDataModule((noise[:, 0], labels), val, val, name="noise")
    with pytest.raises(
        ValueError, match=r"teacher 1 \(convnet_w16\) has balanced accuracy 0\.500 on val, chance is 0\.500.*"
    ):
        train_teachers(bad, 1, network="convnet_w16", protocol=SHORT)
    with pytest.raises(ValueError, match="diverged: its labels would be noise; use a longer protocol"):
        train_teachers(data, 1, network="convnet_w16", protocol=replace(SHORT, lr=1e20))


def test_bad_arguments_are_refused_in_one_line(data, teachers):
    images = torch.from_numpy(data.train_arrays()[0][:2])
    with pytest.raises(ValueError, match="teachers=0; soft labels need at least one teacher"):
        train_teachers(data, 0)
    with pytest.raises(ValueError, match="unknown network 'convnetz'"):
        train_teachers(data, 1, network="convnetz")
    with pytest.raises(ValueError, match="unknown prior 'even'; use one of natural, balanced"):
        teachers.label(images, prior="even")
    with pytest.raises(ValueError, match="views=-1; it must be 0"):
        teachers.label(images, views=-1)
    with pytest.raises(ValueError, match=r"images are \(1, 9, 8\), the teachers were trained on \(1, 8, 8\)"):
        teachers.label(torch.zeros(1, 1, 9, 8))
    lacking = replace(teachers, frequencies=torch.tensor([0.5, 0.5, 0.0]))
    with pytest.raises(ValueError, match="prior='balanced' needs training images with and without 2; use prior='nat"):
        lacking.label(images, prior="balanced")


def test_teachers_come_back_from_their_file_and_a_changed_file_is_refused(data, teachers, tmp_path):
    path = save_teachers(tmp_path / "new" / "teachers.safetensors", teachers)
    back = load_teachers(path)
    images = torch.from_numpy(data.train_arrays()[0][:5])
    assert torch.equal(back.label(images, prior="balanced"), teachers.label(images, prior="balanced"))
    assert (back.spec, back.record, back.temperature) == (teachers.spec, teachers.record, teachers.temperature)
    arrays = load_file(path)
    changed = copy.deepcopy(arrays)
    next(value for name, value in changed.items() if name != "frequencies").flat[0] += 1
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        metadata = file.metadata()
    save_file(changed, tmp_path / "changed.safetensors", metadata)
    save_file(arrays, tmp_path / "bare.safetensors")
    with pytest.raises(ValueError, match=r"changed\.safetensors was changed after it was written"):
        load_teachers(tmp_path / "changed.safetensors")
    with pytest.raises(ValueError, match=r"bare\.safetensors is not a readable teacher file"):
        load_teachers(tmp_path / "bare.safetensors")
    with pytest.raises(FileNotFoundError, match=r"no teacher file 'none' in .*; write it with --save_teachers FILE"):
        load_teachers(tmp_path / "none")


def test_batch_norm_keeps_its_running_statistics(data, tmp_path):
    trained = train_teachers(data, 1, network="convnet_w16_batch", protocol=SHORT)
    back = load_teachers(save_teachers(tmp_path / "t.safetensors", trained))
    images = torch.from_numpy(data.train_arrays()[0][:5])
    assert torch.equal(back.label(images), trained.label(images))
    assert torch.allclose(trained.label(images[:1]), trained.label(images)[:1], atol=1e-5)


def bands(count, seed=0):
    """Images ``(N, 8, 8)`` with a bright half for each of two labels; the second label is rare."""
    random = np.random.default_rng(seed)
    labels = np.stack([random.random(count) < 0.5, random.random(count) < 0.25], 1)
    images = random.integers(0, 60, (count, 8, 8))
    for k in range(2):
        images[:, :, 4 * k : 4 * k + 4] += 150 * labels[:, None, None, k]
    return images.astype(np.uint8), labels.astype(np.uint8)


def test_multi_label_data_get_one_probability_for_each_label():
    data = ArrayDataModule(
        bands(80), bands(40, 1), bands(40, 2), class_names=["left", "right"], min_combination=4, augmentation="none"
    )
    trained = train_teachers(data, 2, network="convnet_w16", protocol=SHORT)
    images, targets = data.all_train_arrays()
    frequency = targets.astype(float).mean(0)
    assert np.allclose(trained.frequencies.numpy(), frequency)
    assert np.allclose(trained.frequencies, class_frequencies_of(data))
    x = trained.spec.normalize(torch.from_numpy(images))
    with torch.no_grad():
        z = torch.stack([net(x).double() / trained.temperature for net in modules(trained)])
    natural = trained.label(torch.from_numpy(images))
    assert torch.allclose(natural.double(), z.sigmoid().mean(0), atol=1e-5)
    assert not torch.allclose(natural.sum(1), torch.ones(len(images)))
    odds = torch.from_numpy((1 - frequency) / frequency)  # Bayes: odds times the prior odds of one half
    by_hand = ((z.exp() * odds) / (1 + z.exp() * odds)).mean(0)
    balanced = trained.label(torch.from_numpy(images), prior="balanced")
    assert torch.allclose(balanced.double(), by_hand, atol=1e-5)


def class_frequencies_of(data):
    from lightning_distill.evaluation import full_data

    return class_frequencies(full_data(data.all_train_arrays(), data.spec)(0)).numpy()
