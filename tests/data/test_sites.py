"""Tests of ``CombinedDataModule`` and ``SitesDataModule``."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import blobs

from lightning_distill import ArrayDataModule, CombinedDataModule, DMDistiller, SitesDataModule
from lightning_distill.data.sites import class_shares, site_of


def source(name: str, per_class: int, seed: int = 0, size: int = 8) -> ArrayDataModule:
    splits = [blobs(2, count, size, 1, seed + i) for i, count in enumerate((per_class, 6, 4 + seed))]
    return ArrayDataModule(*splits, name=name, license=f"licence of {name}", source=f"file of {name}")


def test_the_source_is_the_class_and_all_have_as_many(make_trainer):
    data = CombinedDataModule([source("a", 12), source("b", 20, 3), source("c", 9, 6)], real_per_class=8)
    spec = data.spec
    assert (spec.name, spec.class_names, spec.task) == ("a+b+c", ("a", "b", "c"), "multi-class")
    assert spec.source == "file of a + file of b + file of c"
    assert np.bincount(data.splits["train"][1]).tolist() == [18] * 3
    assert np.bincount(data.splits["val"][1]).tolist() == [12] * 3
    assert np.bincount(data.splits["test"][1]).tolist() == [8] * 3
    whole = {image.tobytes() for image in source("b", 20, 3).train_arrays()[0]}
    drawn = [image.tobytes() for image in data.splits["train"][0][data.splits["train"][1] == 1]]
    assert len(set(drawn)) == 18
    assert set(drawn) <= whole
    trainer = make_trainer(2)
    trainer.fit(DMDistiller(ipc=1, network="convnet_w16"), datamodule=data)
    assert trainer.global_step == 2


def test_equal_shares_are_drawn_by_the_seed():
    draws = [CombinedDataModule([source("a", 12), source("b", 30, 3)], per_source=5, seed=seed) for seed in (0, 0, 1)]
    first, same, other = (data.train_arrays()[0] for data in draws)
    assert len(first) == 10
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("sources", "options", "message"),
    [
        ([("a", 12)], {}, "1 source; pass at least two"),
        ([("a", 12), ("a", 12)], {}, "two sources have the name 'a'"),
        ([("a", 12), ("b", 12, 0, 9)], {}, r"sources differ in shape: a \(1, 8, 8\), b \(1, 9, 9\)"),
        ([("a", 12), ("b", 20)], {"per_source": 25}, "per_source=25, but the smallest source has 24 train images"),
    ],
)
def test_sources_that_do_not_belong_together_are_refused(sources, options, message):
    with pytest.raises(ValueError, match=message):
        CombinedDataModule([source(*arguments) for arguments in sources], **options).setup()


def test_sites_share_out_every_image_once_and_are_as_large_as_asked():
    sites = [SitesDataModule(source("a", 200), i, shares=[6, 3, 1], balance=None) for i in range(3)]
    parts = [site.train_arrays()[0] for site in sites]
    assert sum(map(len, parts)) == 400
    assert len({image.tobytes() for part in parts for image in part}) == 400
    assert [len(part) for part in parts] == pytest.approx([240, 120, 40], abs=6)
    assert [site.spec.name for site in sites] == ["a_site0", "a_site1", "a_site2"]
    assert sites[2].spec.source == "file of a, site 2 of 3"
    assert sum(len(site.splits["test"][1]) for site in sites) == 8


def test_uneven_sites_have_all_classes_but_not_in_one_ratio():
    shares = class_shares(2, [1, 1, 1], 0.3, seed=1)
    np.testing.assert_allclose(shares.sum(1), 1)
    labels = np.repeat([0, 1], 300)
    sites = site_of(labels, None, shares, 0)
    counts = np.array([[(labels[sites == s] == k).sum() for s in range(3)] for k in range(2)])
    assert counts.sum() == 600
    assert counts.min() >= 1
    np.testing.assert_allclose(counts / 300, shares, atol=0.011)
    assert np.ptp(counts[0] / counts.sum(0)) > 0.2


def test_no_patient_is_at_two_sites():
    random = np.random.default_rng(0)
    groups = random.integers(0, 60, 400)
    labels = (groups % 2).astype(np.int64)
    sites = site_of(labels, groups, class_shares(2, [6, 3, 1], 1.0, 0), 0)
    assert all(len(set(sites[groups == group])) == 1 for group in set(groups.tolist()))
    assert set(sites.tolist()) == {0, 1, 2}


def test_classes_with_fewer_images_than_sites_go_to_the_largest():
    sites = site_of(np.array([0, 0, 1] + [0] * 20), None, class_shares(2, [6, 3, 1], None, 0), 0)
    assert sites[2] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"site": 3}, "site=3; there are 3 sites, counted from 0"),
        ({"site": 0, "shares": [1, 0]}, "must be above 0"),
        ({"site": 0, "balance": 0.0}, "must be above 0"),
    ],
)
def test_sites_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SitesDataModule(source("a", 12), **options)


def test_a_command_makes_the_site_again():
    arguments = SitesDataModule(source("a", 12), 1).reproducible_args
    assert arguments == {"data": "ArrayDataModule", "site": 1, "shares": [0.6, 0.3, 0.1], "balance": 2.0, "seed": 0}
