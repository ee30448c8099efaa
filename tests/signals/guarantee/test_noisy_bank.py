"""Sampling, clipping and noise are really there: each test fails where one of them is taken out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import blobs

pytest.importorskip("opacus", reason="the extra dp is not installed")

from lightning_distill import ArrayDataModule, DMDistiller
from lightning_distill.signals import SignalBank, merge_banks, read_bank, write_bank
from lightning_distill.signals.guarantee import Guarantee, compute_noisy_bank, epsilon_of
from lightning_distill.signals.guarantee.units import Units, clipped_sums, sample_rows

NETWORK = {"network": "convnet_w16", "compile": "off"}
TERMS = {"epsilon": 8.0, "delta": 1e-3, **NETWORK}


def patients(**options) -> ArrayDataModule:
    images, labels = blobs(2, 40)
    groups = {"train": np.arange(80) // 4, "val": np.arange(100, 112)}
    return ArrayDataModule((images, labels), blobs(2, 6), groups=groups, **options)


def test_noise_has_the_stated_variance():
    """The difference of two banks of the same draws is noise alone where every unit is in every sample."""
    data = patients()
    first, second = (compute_noisy_bank(data, draws=30, sample_size=1000, **TERMS) for _ in range(2))
    stated = Guarantee.from_dict(first.about["guarantee"])
    assert stated.rate == (1.0, 1.0)
    difference = (first.sums - second.sums) / 2**0.5
    assert difference.numel() == 30 * 2 * 16
    for label in range(2):
        ratio = difference[:, label].var().item() / (stated.sigma[label] * stated.clip) ** 2
        assert ratio == pytest.approx(1, abs=5 * (2 / 480) ** 0.5)  # five standard errors of a variance of 480 numbers
        assert abs(difference[:, label].mean().item()) < 5 * stated.sigma[label] / 480**0.5


def test_without_its_noise_a_bank_is_the_clipped_one():
    """Means over many draws of noisy sums are near those of the exact clipped statistics."""
    data = patients()
    noisy = compute_noisy_bank(data, draws=40, sample_size=1000, **{**TERMS, "epsilon": 500.0})
    (exact,) = SignalBank.compute(data, draws=40, mean=[127.5], std=[63.75], **NETWORK)
    sigma = Guarantee.from_dict(noisy.about["guarantee"]).sigma[0]
    norms = noisy.sums.norm(dim=2)
    assert (norms <= 40 + 6 * sigma * 4).all()  # 40 images of norm 1 at most, and noise
    cosine = torch.cosine_similarity(noisy.sums.mean(0), exact.sums.mean(0))
    assert (cosine > 0.9).all()


def test_what_a_unit_adds_is_bounded():
    random = np.random.default_rng(0)
    features = torch.from_numpy(random.normal(0, 9, (60, 5))).float()
    units, labels = random.integers(0, 12, 60), random.integers(0, 3, 60)
    whole = clipped_sums(features, units, labels, 3, clip=0.7)
    for unit in range(12):
        rest = units != unit
        without = clipped_sums(features[torch.from_numpy(rest)], units[rest], labels[rest], 3, clip=0.7)
        assert (whole - without).norm() <= 0.7 + 1e-5
        assert (whole - without).norm() == pytest.approx(0.7, rel=1e-4)  # large features: the bound is reached


def test_short_statistics_are_not_clipped():
    features = torch.tensor([[0.1, 0.0], [0.3, 0.0], [0.0, 0.2]])
    total = clipped_sums(features, np.array([0, 0, 1]), np.array([0, 0, 1]), 2, clip=1.0)
    torch.testing.assert_close(total, torch.tensor([[0.2, 0.0], [0.0, 0.2]]))  # a patient adds the mean of its images


def test_samples_are_poisson_and_take_patients_whole():
    units = Units(np.arange(4000) // 4, np.repeat([0, 1], 2000), several=True)
    random = np.random.default_rng(0)
    drawn = [sample_rows(units, (0.25, 0.25), random) for _ in range(200)]
    numbers = np.array([len(rows) / 4 for rows in drawn])
    assert all((np.bincount(units.of_row[rows], minlength=1000) % 4 == 0).all() for rows in drawn)
    assert numbers.mean() == pytest.approx(250, abs=5 * (187.5 / 200) ** 0.5)
    assert numbers.var() == pytest.approx(187.5, rel=0.5)  # binomial: 1000 * 0.25 * 0.75; a fixed size has 0
    few = sample_rows(Units(np.arange(2000), np.repeat([0, 1], 1000), several=False), (0.9, 0.1), random)
    assert (few < 1000).sum() == pytest.approx(900, abs=60)
    assert (few >= 1000).sum() == pytest.approx(100, abs=60)


def test_no_seed_repeats_the_noise():
    data = patients()
    torch.manual_seed(0), np.random.seed(0)
    first = compute_noisy_bank(data, draws=2, **TERMS)
    torch.manual_seed(0), np.random.seed(0)
    assert not torch.equal(first.sums, compute_noisy_bank(data, draws=2, **TERMS).sums)


def test_epsilon_of_the_statement_is_that_of_its_mechanisms():
    for options in ({}, {"class_counts": "noisy"}, {"unit": "patient"}, {"unit": "patient", "class_counts": "noisy"}):
        bank = compute_noisy_bank(patients(), draws=3, sample_size=10, **TERMS, **options)
        stated = Guarantee.from_dict(bank.about["guarantee"])
        spent = max(epsilon_of(steps, stated.delta) for steps in stated.mechanisms())
        assert spent == pytest.approx(stated.epsilon, rel=1e-6)
        assert spent <= 8.0
        assert spent > 7.8


def test_a_second_release_is_charged_and_stated():
    data = patients()
    first = compute_noisy_bank(data, draws=3, **{**TERMS, "epsilon": 4.0})
    earlier = Guarantee.from_dict(first.about["guarantee"])
    second = Guarantee.from_dict(compute_noisy_bank(data, draws=3, earlier=[earlier], **TERMS).about["guarantee"])
    assert second.earlier == 1
    assert second.epsilon < second.epsilon_total <= 8.0
    assert "1 earlier release(s) of the same data" in second.words()
    third = compute_noisy_bank(data, draws=3, earlier=[second], **{**TERMS, "epsilon": 12.0}).about["guarantee"]
    steps = max(epsilon_of(steps, 1e-3) for steps in Guarantee.from_dict(third).mechanisms())
    assert steps == pytest.approx(third["epsilon_total"], rel=1e-6)
    with pytest.raises(ValueError, match="already cost"):
        compute_noisy_bank(data, draws=3, earlier=[earlier], **{**TERMS, "epsilon": 1.0})


def test_words_name_every_term():
    words = compute_noisy_bank(patients(), draws=3, clip=2.0, unit="patient", **TERMS).about["guarantee"]["words"]
    for part in ("patient", "epsilon 8.00", "delta 0.001", "PRV", "RDP", "3 draws", "Poisson", "at most 2", "public"):
        assert part in words


def test_a_noisy_bank_is_read_again_and_distilled_from_noise(make_trainer, tmp_path):
    bank = read_bank(write_bank(tmp_path / "n.safetensors", compute_noisy_bank(patients(), draws=2, **TERMS)))
    distiller = DMDistiller(ipc=1, signals=[bank])
    make_trainer(max_steps=3).fit(distiller)
    assert distiller.init == "noise"
    assert distiller.synthetic.images.isfinite().all()
    assert distiller.card_entries()["signals"]["guarantee"]["epsilon"] == pytest.approx(8.0, abs=0.1)
    both = merge_banks([bank, bank])
    assert [part["guarantee"]["unit"] for part in both.about["parts"]] == ["image", "image"]


def test_bad_input_is_named():
    data = patients()
    for options, message in (
        ({"epsilon": 0.0}, "epsilon=0"),
        ({"epsilon": -1.0}, "epsilon=-1"),
        ({"delta": 0.0}, "delta=0"),
        ({"delta": 1.0}, "delta=1"),
        ({"clip": 0.0}, "clip=0"),
        ({"sample_size": 0}, "sample_size=0"),
        ({"unit": "ward"}, "unit.*'ward'"),
        ({"class_counts": "secret"}, "class_counts.*'secret'"),
        ({"network": "convnet_batch"}, "batch norm"),
        ({"mean": [1.0]}, "belong together"),
    ):
        with pytest.raises(ValueError, match=message):
            compute_noisy_bank(data, **{**TERMS, "draws": 2, **options})
    images, labels = blobs(2, 40)
    with pytest.raises(ValueError, match="has no patient of each image"):
        compute_noisy_bank(ArrayDataModule((images, labels), blobs(2, 6)), draws=2, unit="patient", **TERMS)
    floats = ArrayDataModule((images / 255, labels), (images / 255, labels))
    with pytest.raises(ValueError, match="give constants: --mean, --std"):
        compute_noisy_bank(floats, draws=2, **TERMS)
    bank = compute_noisy_bank(floats, draws=2, mean=[0.5], std=[0.25], **TERMS)
    assert (bank.spec.min_value, bank.spec.max_value) == (-0.5, 1.5)


def test_delta_of_one_over_n_and_small_classes_are_warned_of():
    data = patients()
    with pytest.warns(UserWarning, match="not below 1/N for N=80 images"):
        compute_noisy_bank(data, draws=2, **{**TERMS, "delta": 0.02})
    with pytest.warns(UserWarning, match=r"class '0' has 40 images, too few for epsilon 0\.20.*it needs epsilon"):
        compute_noisy_bank(data, draws=2, **{**TERMS, "epsilon": 0.2, "delta": 1e-5})
