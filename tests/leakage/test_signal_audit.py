"""Attacks on signal banks: formulas against explicit algebra, banks that tell all or nothing, and bad input."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from lightning_distill import ArrayDataModule, audit_signals
from lightning_distill.cli import main
from lightning_distill.functional.build import build_functional_network
from lightning_distill.leakage.signal_attacks import ROUNDING, ClassProducts, choose_ridge, decode, trace
from lightning_distill.leakage.signal_products import class_products
from lightning_distill.signals import SignalBank

QUICK = {"network": "convnet_w16", "shadows": 8, "accelerator": "cpu"}


def products_of(candidates, population, members, noise=0.0):
    """Products of explicit statistics, and the centred statistics and sums themselves."""
    centre = population.mean(0)
    own, held, counts = candidates - centre, population - centre, members.double().sum(1)
    sums = members.double() @ candidates + noise**0.5 * torch.randn(len(members), candidates.shape[1]).double()
    sums = sums - counts[:, None] * centre
    ones = torch.ones(len(members)).double()
    made = ClassProducts(
        own @ own.T, (own * own).sum(1), own @ held.T, held @ held.T, sums @ own.T, sums @ held.T, counts,
        noise * ones, ones,
    )  # fmt: skip
    return made, own, held, sums


@pytest.fixture
def numbers():
    torch.manual_seed(0)
    scale = torch.linspace(3, 0.1, 30).double()
    candidates, population = (torch.randn(count, 30).double() * scale + 2 for count in (20, 24))
    return candidates, population, torch.rand(6, 20) < 0.5


@pytest.mark.parametrize("noise", [0.0, 2.5])
def test_tracing_is_the_likelihood_ratio_of_gaussian_statistics(numbers, noise):
    products, own, held, sums = products_of(*numbers, noise)
    scores, ridge = trace(products, 0.5), 0.5 * held.square().sum(1).mean() / len(held)
    for bank, count in enumerate(products.counts):
        covariance = held.T @ held / len(held) + (ridge + noise / count) * torch.eye(30)
        inverse, mean = torch.linalg.inv(covariance), sums[bank] / count
        density = [
            torch.distributions.MultivariateNormal(shift, covariance / count) for shift in (own / count, 0 * own)
        ]
        wanted = density[0].log_prob(mean) - density[1].log_prob(mean)
        torch.testing.assert_close(scores[bank], wanted)
        torch.testing.assert_close(wanted, own @ inverse @ mean - (own @ inverse * own).sum(1) / (2 * count))


@pytest.mark.parametrize("noise", [0.0, 2.5])
def test_decoding_is_ridge_regression_of_the_membership(numbers, noise):
    products, own, _, sums = products_of(*numbers, noise)
    ridge = 4 * noise + ROUNDING * own.square().sum(1).mean()
    wanted = [
        0.5 + torch.linalg.solve(own @ own.T + ridge * torch.eye(20), own @ (row - 0.5 * own.sum(0))) for row in sums
    ]
    torch.testing.assert_close(decode(products), torch.stack(wanted))
    if not noise:
        torch.testing.assert_close(decode(products), numbers[2].double(), atol=1e-3, rtol=0)


def test_the_ridge_is_chosen_on_held_out_images_alone(numbers):
    products = products_of(*numbers)[0]
    assert choose_ridge([products.population], 0) == choose_ridge([products.population], 0)
    assert choose_ridge([torch.eye(24).double()], 1) in (10.0, 1.0, 0.1, 0.01, 0.001)


def test_products_are_those_of_the_statistics_in_the_bank(make_clinic):
    data = make_clinic(40)
    data.setup()
    images, labels = data.train_arrays()
    masks = torch.rand(3, 40, generator=torch.Generator().manual_seed(0)) < 0.5
    banks = SignalBank.compute(data, draws=2, network="convnet_w16", masks=masks)
    network = build_functional_network("convnet_w16", data.spec, 1, torch.device("cpu"), "off", sizes=[])
    rows, held = labels == 1, data.splits["val"][1] == 1
    made = class_products(banks, 1, network, images[rows], data.splits["val"][0][held], torch.device("cpu"))
    inside = masks[:, torch.from_numpy(rows)].double()
    torch.testing.assert_close(made.sums, inside @ made.candidates, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(made.population_sums, inside @ made.cross, rtol=1e-3, atol=1e-3)
    assert made.counts.tolist() == inside.sum(1).tolist()
    assert made.cross.sum(1).abs().max() < 1e-6  # centred on the population


def test_a_bank_with_more_numbers_than_images_tells_who_is_in_it(make_clinic):
    rows = audit_signals(make_clinic(), draws=10, **QUICK)
    found = {(row.attack, row.unit): row for row in rows}
    units = ("image", "patient or lesion")
    assert set(found) == {(attack, unit) for attack in ("decoding", "tracing") for unit in units}
    assert found["decoding", "image"].rates.auc > 0.999
    assert found["decoding", units[1]].rates.auc > 0.999
    assert not found["decoding", units[1]].rates.rates[1].resolvable  # 60 people
    assert 0.5 < found["tracing", "image"].rates.auc < found["decoding", "image"].rates.auc
    assert found["decoding", "image"].worst_class in ("0", "1")
    few = audit_signals(make_clinic(600), draws=1, **QUICK)  # 64 numbers, 300 images a class
    assert few[0].rates.auc < 0.9


def test_sums_of_other_images_and_shuffled_members_tell_nothing(numbers):
    candidates, population, _ = numbers
    torch.manual_seed(1)
    aucs = []
    for _ in range(40):
        members, other = torch.rand(1, 20) < 0.5, torch.randn(20, 30).double() * torch.linspace(3, 0.1, 30) + 2
        foreign = products_of(other, population, members)[3]
        products, own, held, _ = products_of(candidates, population, members)
        fooled = ClassProducts(
            products.candidates, products.norms, products.cross, products.population, foreign @ own.T, foreign @ held.T,
            products.counts, products.noise, products.rates,
        )  # fmt: skip
        shuffled = members[0][torch.randperm(20)]
        aucs.append([
            roc_auc_score(members[0], decode(fooled)[0]), roc_auc_score(members[0], trace(fooled, 0.1)[0]),
            roc_auc_score(shuffled, decode(products)[0]), roc_auc_score(members[0], decode(products)[0]),
        ])  # fmt: skip
    means = np.mean(aucs, 0)
    assert np.abs(means[:3] - 0.5).max() < 0.08, means  # 3 standard errors of 40 banks
    assert means[3] > 0.99


def test_noise_of_a_guarantee_hides_members_and_its_absence_shows_them(make_clinic, monkeypatch):
    pytest.importorskip("opacus", reason="the extra dp is not installed")
    from lightning_distill.signals.guarantee import noisy_bank

    options = {**QUICK, "draws": 4, "epsilon": 0.5, "delta": 1e-3}
    row, *_ = audit_signals(make_clinic(), **options)
    assert row.recipe == "signal bank, epsilon 0.5"
    assert abs(row.rates.auc - 0.5) < 0.1
    terms = noisy_bank.terms_of
    monkeypatch.setattr(
        noisy_bank, "terms_of", lambda *args, **other: replace(terms(*args, **other), sigma=(1e-6, 1e-6))
    )
    assert audit_signals(make_clinic(), **options)[0].rates.auc > 0.99


def test_label_combinations_are_candidates_of_their_group():
    random = np.random.default_rng(0)

    def split(count):
        targets = np.stack([np.arange(count) % 2, np.arange(count) % 3 == 0], 1).astype(np.int64)
        targets[:2] = 1 - targets[:2]  # two rare combinations stay out
        return random.integers(0, 255, (count, 1, 8, 8)).astype(np.uint8), targets

    data = ArrayDataModule(
        split(90), split(90), name="findings", channels="first", class_names=["a", "b"], min_combination=20
    )
    rows = audit_signals(data, draws=10, **QUICK)
    assert rows[0].rates.auc > 0.999


def test_without_held_out_images_of_a_class_tracing_is_left_out(make_clinic, capsys):
    data = make_clinic()
    data.setup()
    data.splits["val"] = (data.splits["val"][0][:12], data.splits["val"][1][:12])
    assert {row.attack for row in audit_signals(data, draws=2, **QUICK)} == {"decoding"}


def test_the_command_prints_the_rates_and_its_file_names_no_image(tmp_path, capsys):
    out = tmp_path / "rates.json"
    main(
        [
            "signals-audit",
            "--data=DigitsDataModule",
            "--draws=2",
            "--network=convnet_w16",
            "--shadows=8",
            f"--out={out}",
        ]
    )
    printed = " ".join(capsys.readouterr().out.split())
    assert "Attacks on signal banks of digits" in printed
    assert "one image against the sums" in printed
    rows = json.loads(out.read_text())
    assert [row["attack"] for row in rows] == ["decoding", "tracing"]
    assert not any("number" in exposed for row in rows for exposed in row["exposed"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shadows": 7}, "shadows=7"),
        ({"draws": 0}, "draws=0"),
        ({"epsilon": 0.0}, "epsilon=0"),
        ({"network": "convnet_batch"}, "batch norm"),
        ({"network": "resnet18"}, "too small for this network"),
        ({"network": "none"}, "none"),
        ({"objective": "median"}, "unknown objective 'median'"),
        ({"accelerator": "tpu"}, "tpu"),
    ],
)
def test_bad_input_is_refused_in_one_line(make_clinic, options, message):
    with pytest.raises(ValueError, match=message) as error:
        audit_signals(make_clinic(), **{**QUICK, "draws": 2, **options})
    assert "\n" not in str(error.value)


def test_options_of_noise_without_noise_are_refused(make_clinic):
    for option in ({"delta": 1e-6}, {"clip": 0.1}, {"sample_size": 10}):
        with pytest.raises(ValueError, match="changes nothing without noise; give epsilon too"):
            audit_signals(make_clinic(), **option)
    with pytest.raises(ValueError, match="delta=2"):
        audit_signals(make_clinic(), epsilon=1.0, delta=2)
