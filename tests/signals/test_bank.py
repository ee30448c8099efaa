"""Banks against plain loops over images, draws and subsets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import blobs

from lightning_distill import ArrayDataModule
from lightning_distill.augmentation.siamese import SiameseAugmentation
from lightning_distill.functional.build import build_functional_network
from lightning_distill.signals import SignalBank, merge_banks, sums

NETWORK = {"network": "convnet_w16", "compile": "off"}


def by_loops(data, bank, member) -> torch.Tensor:
    """Sums ``(P, K, F)``: one image at a time through the network and the augmentation of its class."""
    images, labels = data.train_arrays()
    network = build_functional_network("convnet_w16", bank.spec, 0, torch.device("cpu"), "off", sizes=[])
    total = torch.zeros_like(bank.sums)
    for draw in range(bank.draws.count):
        parameters = bank.draws.parameters(draw, network)
        for row, label in enumerate(labels):
            if not member[row]:
                continue
            augment = SiameseAugmentation(bank.draws.augmentation, bank.spec.shape[1:])
            image = bank.spec.normalize(torch.from_numpy(np.asarray(images[row : row + 1])))
            seeds = bank.draws.class_seeds(draw, [int(label)])
            with torch.no_grad():
                total[draw, label] += network.embed(parameters, augment.of_classes(image, [1], seeds))[0]
    return total


def test_sums_equal_plain_loops_also_of_subsets_and_in_small_chunks(make_data, monkeypatch):
    data = make_data(num_classes=3)
    monkeypatch.setattr(sums, "CHUNK_BYTES", 4 * 64 * 7)  # chunks of seven images
    masks = torch.rand(3, 36, generator=torch.Generator().manual_seed(0)) < 0.5
    masks[2] = True
    banks = SignalBank.compute(data, draws=2, masks=masks, **NETWORK)
    for bank, member in zip(banks, masks, strict=True):
        torch.testing.assert_close(bank.sums, by_loops(data, bank, member), rtol=1e-4, atol=1e-4)
        counts = [int(member[data.train_arrays()[1] == label].sum()) for label in range(3)]
        assert bank.counts.tolist() == [counts, counts]
    (whole,) = SignalBank.compute(data, draws=2, **NETWORK)
    torch.testing.assert_close(whole.sums, banks[2].sums)
    assert whole.fingerprints == banks[0].fingerprints


def test_draws_differ_and_come_again(make_data):
    (first,), (again,), (other,) = (SignalBank.compute(make_data(), draws=2, seed=s, **NETWORK) for s in (0, 0, 1))
    assert torch.equal(first.sums, again.sums)
    assert first.fingerprints == again.fingerprints
    assert len({*first.fingerprints, *other.fingerprints}) == 4


@pytest.mark.parametrize("objective", ["mean", "moments", "characteristic", "mmd"])
def test_merged_banks_equal_the_bank_of_all_images(objective, make_data):
    images, labels = blobs(3, 20)
    rows = np.random.default_rng(0).permutation(len(labels)) % 4 == 0  # one site is three times the other
    constants = {"mean": [60.0], "std": [50.0], "draws": 2, "objective": objective, **NETWORK}

    def bank(member):
        data = ArrayDataModule((images[member], labels[member]), blobs(3, 4), name="site")
        return SignalBank.compute(data, **constants)[0]

    pooled, merged = bank(np.full(len(labels), True)), merge_banks([bank(rows), bank(~rows)])
    torch.testing.assert_close(merged.sums, pooled.sums, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(merged.counts, pooled.counts)
    torch.testing.assert_close(merged.means(1), pooled.means(1), rtol=1e-4, atol=1e-4)
    assert merged.fingerprints == pooled.fingerprints


def test_trained_networks_are_stored_used_and_confessed(make_data):
    data = make_data()
    (bank,) = SignalBank.compute(data, draws=2, train_steps=3, **NETWORK)
    (random,) = SignalBank.compute(data, draws=2, **NETWORK)
    assert "have seen the data" in bank.about["networks"]
    assert not torch.allclose(bank.sums, random.sums)
    network = build_functional_network("convnet_w16", bank.spec, 0, torch.device("cpu"), "off", sizes=[])
    start = bank.draws.parameters(1, network)
    assert bank.weights.keys() == start.keys()
    assert any(not torch.equal(bank.weights[name][1], start[name]) for name in start)


def changed(bank: SignalBank, **fields) -> SignalBank:
    return replace(bank, **fields)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: replace(b, draws=replace(b.draws, seed=9)), "differ in seed: 0 and 9"),
        (lambda b: replace(b, draws=replace(b.draws, network="convnet_w32")), "differ in network"),
        (lambda b: replace(b, draws=replace(b.draws, augmentation="none")), "differ in augmentation"),
        (lambda b: replace(b, draws=replace(b.draws, objective="moments")), "differ in objective"),
        (lambda b: replace(b, draws=replace(b.draws, clip=1.0)), "differ in clip"),
        (lambda b: replace(b, spec=replace(b.spec, class_names=("x", "y"))), "differ in classes"),
        (lambda b: replace(b, spec=replace(b.spec, mean=(1.0,))), "differ in mean.*--mean --std"),
        (lambda b: replace(b, fingerprints=("x", *b.fingerprints[1:])), "draw 0, though their seeds are equal"),
        (lambda b: replace(b, weights={"w": torch.zeros(2, 1)}), "trained weights"),
    ],
)
def test_banks_that_do_not_fit_are_refused_by_name(change, message, make_data):
    (bank,) = SignalBank.compute(make_data(), draws=2, **NETWORK)
    with pytest.raises(ValueError, match=message):
        merge_banks([bank, change(bank)])


def test_other_bad_input_is_named(make_data):
    data = make_data()
    (bank,) = SignalBank.compute(data, draws=2, **NETWORK)
    counts = bank.counts.clone()
    counts[:, 1] = 0
    with pytest.raises(ValueError, match="no images of the class '1'"):
        replace(bank, counts=counts).validate_complete()
    with pytest.raises(ValueError, match="no bank to merge"):
        merge_banks([])
    with pytest.raises(ValueError, match="needs sums"):
        replace(bank, sums=bank.sums[:1])
    for options, message in (
        ({"network": "convnet_batch"}, "convnet_batch has batch norm"),
        ({"draws": 0}, "draws=0"),
        ({"objective": "median"}, "unknown objective 'median'"),
        ({"augmentation": "blur"}, "unknown augmentation 'blur'"),
        ({"mean": [1.0]}, "mean and std belong together"),
        ({"mean": [1.0, 2.0], "std": [1.0, 2.0]}, "1 channels"),
        ({"masks": torch.ones(2, 5, dtype=torch.bool)}, r"must be bool \(S, 24\)"),
        ({"masks": torch.ones(2, 24)}, r"must be bool \(S, 24\)"),
    ):
        with pytest.raises(ValueError, match=message):
            SignalBank.compute(data, **{**NETWORK, "draws": 2, **options})
