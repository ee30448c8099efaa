"""``measure_fidelity``: sets beside random real images, and bad input."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import blobs
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from lightning_distill import ArrayDataModule, measure_fidelity, save_set, train_teachers
from lightning_distill.evaluation.copies.search import CopySearch
from lightning_distill.evaluation.fidelity import registry
from lightning_distill.evaluation.fidelity.feature_network import FeatureNetwork
from lightning_distill.evaluation.fidelity.frechet import frechet_distance
from lightning_distill.evaluation.fidelity.kid import kernel_distance
from lightning_distill.evaluation.fidelity.metric import Column, FidelityMetric
from lightning_distill.evaluation.fidelity.rows import fidelity_tables
from lightning_distill.evaluation.fidelity.samples import RealImages, class_numbers
from lightning_distill.evaluation.students.protocol import get_protocol
from lightning_distill.networks import resolve_networks
from lightning_distill.sets.card import make_card
from lightning_distill.sets.names import short_names
from lightning_distill.sets.training_images import hash_training_images
from lightning_distill.utils.csv_rows import append_csv, read_csv
from lightning_distill.utils.tensor_digest import tensors_digest

#: Enough for lenet to tell two kinds of blobs apart.
SHORT = replace(get_protocol("tiny"), epochs=60)
QUICK = {"protocol": SHORT, "accelerator": "cpu", "draws": 3}


@pytest.fixture
def data(make_data):
    made = make_data(2, 1, 16, 60)
    made.setup()
    return made


def multi_label_data():
    def split(count, seed):
        images, labels = blobs(2, count, 12, 1, seed)
        return images, np.stack([labels[:, 0] == 0, np.arange(2 * count) % 2 == 0], 1).astype(np.int64)

    made = ArrayDataModule(split(40, 0), split(12, 1), split(12, 2), name="two labels", class_names=["x", "y"])
    made.setup()
    return made


def test_real_images_are_near_and_noise_is_far(data, set_of):
    rows = measure_fidelity({"real": set_of(data, 20), "noise": set_of(data, 20, noise=True)}, data, **QUICK)
    real, noise = rows
    assert [row.set_name for row in rows] == ["real", "noise"]
    assert (real.images, real.real_images, real.reference_images, real.draws) == (40, 40, 12, 3)
    assert (real.network, len(real.network_sha256), real.set_sha256) == ("lenet", 12, "")
    assert noise["kid"] > real["kid"] + 5 * real["kid_real_std"]
    assert noise["precision"] < real["precision"]
    assert noise["ms_ssim"] < real["ms_ssim"]
    assert real["ms_ssim"] == pytest.approx(real["ms_ssim_real"], abs=0.1)
    assert real["copies"] == 1  # they are training images
    assert noise["copies"] < 1
    assert 0 <= real["copies_null_low"] <= real["copies_null"] <= real["copies_null_high"] <= 1
    for row in rows:
        assert real["kid_real"] == row["kid_real"]
        assert math.isnan(row["fd"])
        assert row.not_resolvable == "fd: 40 images, it needs 168 (twice the 84 features)"


def test_values_are_the_same_again_and_do_not_depend_on_other_sets(data, set_of, tmp_path):
    one, two = set_of(data, 6), set_of(data, 9, seed=1)
    alone = measure_fidelity({"one": one}, data, **QUICK)
    torch.manual_seed(5)
    both = measure_fidelity({"two": two, "one": one}, data, **QUICK)
    assert repr(both[1]) == repr(alone[0])
    append_csv(tmp_path / "f.csv", both)
    (cells, _) = read_csv(tmp_path / "f.csv")
    assert cells["set_name"] == "two"
    assert float(cells["kid"]) == both[0]["kid"]
    assert cells["fd"] == ""
    assert "needs 168" in cells["not_resolvable"]


def test_a_kept_tau_rule_gives_the_same_values_and_must_be_that_of_the_data(data, make_data, set_of):
    search, other = CopySearch(data), make_data(3, 1, 16, 30)
    wanted = measure_fidelity({"one": set_of(data, 6)}, data, **QUICK)
    assert measure_fidelity({"one": set_of(data, 6)}, data, copy_search=search, **QUICK) == wanted
    kept = search.embedding
    measure_fidelity({"two": set_of(data, 6, seed=1)}, data, copy_search=search, **QUICK)
    assert search.embedding is kept
    other.setup()
    for wrong in (CopySearch(data, split="test"), CopySearch(other)):
        with pytest.raises(ValueError, match=r"copy_search is that of the (test|val) images of .*; use CopySearch"):
            measure_fidelity({"one": set_of(data, 6)}, data, copy_search=wrong, **QUICK)


def test_the_feature_network_serves_torchmetrics_itself(data, set_of):
    network = FeatureNetwork.fit(data, "convnet_w16", protocol="tiny")
    real, fake = torch.from_numpy(data.splits["train"][0]), set_of(data, 20, noise=True).pixels
    assert not network.train().training
    holder = torch.nn.ModuleList([network]).train()
    assert not any(module.training for module in network.modules())
    assert holder.state_dict() == {}
    assert not list(network.parameters())
    assert network.sha256 == tensors_digest(network._parameters_by_name)
    kid = KernelInceptionDistance(network, subsets=1, subset_size=40)
    fid = FrechetInceptionDistance(network, input_img_size=data.spec.shape)
    assert network.num_features == 64
    for metric in (kid, fid):
        metric.train()
        metric.update(real, real=True)
        metric.update(fake, real=False)
    a, b = network.embed(data.splits["train"][0]), network.embed(fake)
    assert float(fid.compute()) == pytest.approx(frechet_distance(a, b), rel=1e-3)
    assert float(kid.compute()[0]) == pytest.approx(kernel_distance(a, b), rel=0.2)
    again = FeatureNetwork.fit(data, "convnet_w16", protocol="tiny")
    assert again.sha256 == network.sha256 != FeatureNetwork.fit(data, "convnet_w16", protocol="tiny", seed=1).sha256


def test_draws_have_the_classes_of_the_set_and_are_training_images(data, set_of):
    network = FeatureNetwork.fit(data, "convnet_w16", protocol="tiny")
    real = RealImages(data, "val", network)
    _, (few, many) = real.samples([set_of(data, 5), set_of(data, 60)], [1, 1])
    assert real.drawn_counts(few) == {0: 5, 1: 5}
    assert np.square(real.embed(data.splits["train"][0])).mean() == pytest.approx(1, rel=1e-4)
    unequal = replace(many, classes=np.repeat([0, 1], [100, 20]))
    assert real.drawn_counts(unequal) == {0: 60, 1: 12}  # class 0 has 60 training images
    assert real.drawn_counts(replace(many, classes=np.repeat([0, 7], 60))) == {}
    first, second = real.draws({0: 5, 1: 7}, 2, 0)
    train = {image.tobytes() for image in data.splits["train"][0]}
    for draw in (first, second):
        assert np.bincount(draw.classes).tolist() == [5, 7]
        assert len({image.tobytes() for image in draw.pixels.numpy()} & train) == 12
    assert not torch.equal(first.pixels, second.pixels)


def test_frechet_distances_stand_beside_real_ones_at_equal_numbers(make_data, set_of):
    data = make_data(2, 1, 16, 60)
    data.setup()
    data.splits["val"] = blobs(2, 60, 16, 1, 5)[0][:, None], blobs(2, 60, 16, 1, 5)[1][:, 0].astype(np.int64)
    sets = {"small": set_of(data, 48, noise=True), "large": set_of(data, 60, noise=True, seed=1)}
    network = FeatureNetwork.fit(data, "convnet_w16_d3", protocol="tiny")
    assert network.num_features == 64
    network = FeatureNetwork.fit(data, "convnet_d4_w16", protocol="tiny")
    assert network.num_features == 16
    rows = measure_fidelity(sets, data, metrics=["fd"], network=network, **QUICK)
    assert [row["fd_images"] for row in rows] == [96, 96]
    for row in rows:
        assert row["fd"] > row["fd_real"] + 3 * row["fd_real_std"]
    assert set(rows[0].values) == {"fd", "fd_images", "fd_real", "fd_real_std"}


def test_sub_images_are_decoded(data, set_of):
    stored = set_of(data, 6, formation=2)
    (row,) = measure_fidelity({"f": stored}, data, metrics=["kid", "copies"], **QUICK)
    assert (row.images, row.formation, row.real_images) == (48, 2, 48)
    (decoded,) = measure_fidelity({"f": stored.decode()}, data, metrics=["kid", "copies"], **QUICK)
    assert row["kid"] == pytest.approx(decoded["kid"])
    assert row["tau"] != decoded["tau"]  # real images are reduced like the sub-images


def test_multi_label_sets_are_compared_within_label_combinations(set_of):
    data = multi_label_data()
    (row,) = measure_fidelity({"m": set_of(data, 6)}, data, **QUICK)
    assert (row.images, row.real_images) == (24, 24)
    assert row["ms_ssim"] == pytest.approx(row["ms_ssim_real"], abs=0.15)
    assert row["copies"] == 1
    numbers = class_numbers([np.array([[0, 1], [1, 0]]), np.array([[1, 0], [1, 1]])])
    assert numbers[0].tolist() == [0, 1]
    assert numbers[1].tolist() == [1, 2]


def test_sets_of_files_are_named_and_must_not_hold_the_reference(data, set_of, tmp_path):
    for name in ("a", "b"):
        card = make_card("DMDistiller", {"network": "convnet_w16"}, {}, "noise", 1)
        save_set(tmp_path / name / "best", set_of(data, 4), card)
    paths = [tmp_path / "a" / "best", tmp_path / "b" / "best" / "set.safetensors"]
    with pytest.warns(UserWarning, match="a/best was made with convnet_w16; features of the same architecture"):
        rows = measure_fidelity(paths, data, metrics=["kid"], network="convnet_w16", **QUICK)
    assert [row.set_name for row in rows] == ["a/best", "b/best"]
    assert [row.method for row in rows] == ["DMDistiller"] * 2
    assert len(rows[0].set_sha256) == 12
    assert short_names(paths[:1]) == ["a/best"]
    with pytest.raises(ValueError, match="is given twice"):
        measure_fidelity([paths[1], tmp_path / "b" / "best"], data, **QUICK)
    card = {**make_card("x", {}, {}, "noise", 1), "training_images": hash_training_images(data.splits["val"][0])}
    save_set(tmp_path / "seen", set_of(data, 4), card)
    with pytest.raises(ValueError, match="12 of the 12 val images of blobs are among"):
        measure_fidelity([tmp_path / "seen"], data, **QUICK)
    with pytest.warns(UserWarning, match="say nothing about new images"):
        measure_fidelity([tmp_path / "seen"], data, metrics=["kid"], on_overlap="warn", **QUICK)


def test_teachers_and_local_weights_give_features(data, set_of, encoder_weights):
    teachers = train_teachers(data, 2, network="convnet_w16", protocol="tiny")
    network = FeatureNetwork.of_teachers(teachers)
    assert network.sha256 == tensors_digest(teachers.parameters[0])
    (name,) = resolve_networks(["test_efficientnet:32"], encoder_weights)
    (row,) = measure_fidelity(
        {"x": set_of(data, 8)}, data, metrics=["kid"], network="test_efficientnet:32", weights=encoder_weights, **QUICK
    )
    assert row.network == name
    assert name.endswith(row.network_sha256)
    assert "telltale" not in repr(row)
    assert math.isfinite(row["kid"])


def test_a_metric_is_one_line_of_the_registry(data, set_of, monkeypatch):
    mean = FidelityMetric(
        "brightness",
        (Column("brightness", "brightness"),),
        lambda sample, comparison: {"brightness": float(sample.pixels.float().mean())},
        lambda sample, comparison: "",
    )
    monkeypatch.setattr(registry, "FIDELITY_METRICS", (*registry.FIDELITY_METRICS, mean))
    one = set_of(data, 8)
    (row,) = measure_fidelity({"x": one}, data, metrics=["brightness"], **QUICK)
    assert row["brightness"] == pytest.approx(float(one.pixels.float().mean()))
    assert row["brightness_real_std"] > 0


def test_without_a_metric_of_features_no_network_is_trained(data, set_of, monkeypatch):
    monkeypatch.setattr(FeatureNetwork, "fit", lambda *_, **__: pytest.fail("a network was trained"))
    (row,) = measure_fidelity({"own": set_of(data, 8)}, data, metrics=["ms_ssim", "copies"], accelerator="cpu")
    assert (row.network, row.network_sha256) == ("", "")
    assert "features" not in str(fidelity_tables([row])[0].title)


def test_too_few_images_are_not_resolvable_and_the_rest_is_measured(data, set_of):
    (row,) = measure_fidelity({"one": set_of(data, 1)}, data, **QUICK)
    assert row.not_resolvable.split("; ") == [
        "fd: 2 images, it needs 168 (twice the 84 features)",
        "neighbours: 2 images, it needs 6 (5 neighbours of each)",
        "ms_ssim: no class has two images, it needs pairs within a class",
    ]
    assert math.isfinite(row["kid"])
    assert math.isnan(row["precision"])
    images, labels = blobs(2, 12, 16)
    tiny = ArrayDataModule((images, labels), (images[[0, 13]], labels[[0, 13]]), name="tiny")
    (row,) = measure_fidelity({"x": set_of(tiny, 8)}, tiny, **QUICK)
    assert "copies: 24 training and 2 val images, the tau rule needs 2 and 4" in row.not_resolvable
    assert "neighbours: 2 reference images, it needs 6" in row.not_resolvable


def test_bad_input_is_refused_in_one_line(data, make_data, set_of):
    good = {"x": set_of(data, 4)}

    def refused(match, sets=good, module=data, **options):
        with pytest.raises((ValueError, FileNotFoundError), match=match) as error:
            measure_fidelity(sets, module, **{**QUICK, **options})
        assert "\n" not in str(error.value)

    refused("x and blobs differ in images", module=make_data(2, 1, 8, 12))
    refused("x and blobs differ in images", module=make_data(2, 3, 16, 12))
    refused("x and blobs differ in classes", module=make_data(3, 1, 16, 12))
    images, labels = blobs(2, 12, 16)
    without = ArrayDataModule((images, labels), (images[:20], labels[:20]), name="blobs")
    refused(r"blobs has no test images; pass test=\(images, labels\)", module=without, split="test")
    refused("unknown split 'train'; use one of val, test", split="train")
    refused("unknown metric 'fid'; use one of kid, fd, neighbours, ms_ssim, copies", metrics=["fid"])
    refused("no metrics are chosen", metrics=[])
    refused("draws=0", draws=0)
    refused("no sets are given", sets=[])
    refused("unknown network 'lenett'", network="lenett")
    refused("unknown protocol", protocol="quik")
    refused("no set file", sets=["nowhere"])
