"""Shadow sets that are distilled in one pass equal those made one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lightning_distill import DMDistiller, KRRDistiller
from lightning_distill.leakage.recipes import DistillRecipe, PickRecipe
from lightning_distill.leakage.shadows import make_one_by_one
from lightning_distill.leakage.subset import SubsetDataModule
from lightning_distill.leakage.together import can_share, make_together

SMALL = {"network": "convnet_w16", "compile": "off"}


@pytest.mark.parametrize(
    "options",
    [{"ipc": 1, "formation": 2, "init": "herding"}, {"ipc": [3, 2], "init": "noise", "pool": 0}, {"ipc": 1, "pool": 3}],
    ids=str,
)
def test_sets_equal_those_made_one_by_one(make_clinic, options):
    data = make_clinic(size=16)
    data.setup()
    random = np.random.default_rng(0)
    recipe = DistillRecipe("dm", DMDistiller, {**SMALL, "formation": 1, **options}, steps=4)
    halves = [
        SubsetDataModule(data, np.sort(random.permutation(120)[:size]), public_statistics=True) for size in (60, 57, 30)
    ]
    alone, shared = make_one_by_one(recipe, halves), make_together(recipe, halves)
    start = make_one_by_one(DistillRecipe("dm", DMDistiller, {**recipe.options, "lr": 0.0}, steps=1), halves)
    for one, other, before in zip(alone, shared, start, strict=True):
        assert torch.equal(one.data.labels, other.data.labels)
        assert one.data.spec == other.data.spec == data.spec
        np.testing.assert_array_equal(one.origins, other.origins)
        difference = (one.data.pixels.int() - other.data.pixels.int()).abs()
        moved = (one.data.pixels.int() - before.data.pixels.int()).abs()
        assert difference.max() <= 1, "rounding of stored pixels"
        assert (difference > 0).float().mean() < 0.02
        assert (moved > 0).float().mean() > 0.2


def test_halves_with_their_own_statistics_and_other_methods_are_made_one_by_one(make_clinic, monkeypatch):
    from lightning_distill.leakage import together

    calls = []
    monkeypatch.setattr(together, "make_one_by_one", lambda recipe, halves: calls.append(recipe.name) or [])
    data = make_clinic()
    with pytest.raises(ValueError, match="call its setup"):
        SubsetDataModule(data, np.arange(60))
    data.setup()
    recipe = DistillRecipe("dm", DMDistiller, {**SMALL, "ipc": 1, "formation": 1}, steps=1)
    make_together(recipe, [SubsetDataModule(data, np.arange(i, 120, 2)) for i in range(2)])
    make_together(PickRecipe("random", "random"), [SubsetDataModule(data, np.arange(60), public_statistics=True)])
    assert calls == ["dm", "random"]
    assert can_share(recipe)
    assert can_share(DistillRecipe("fresh", DMDistiller, {**SMALL, "ipc": 1, "pool": 0}, steps=1))
    for method, options in (
        (KRRDistiller, {}),
        (DMDistiller, {"objective": "mmd"}),
        (DMDistiller, {"pool_images": "all"}),
        (DMDistiller, {"gradient_clip": 1.0}),
        (DMDistiller, {"lr_schedule": "cosine"}),
        (DMDistiller, {"network": "convnet_batch"}),
    ):
        assert not can_share(DistillRecipe("other", method, {**SMALL, "ipc": 1, **options}, steps=1))


def test_the_statistics_of_halves_are_attacked_where_sets_are_made_together(make_clinic, tmp_path, quick_audit):
    from lightning_distill import audit_set

    data = make_clinic()
    options = {**quick_audit, "baselines": [], "recovery": False, "steps": 1}
    rows = {}
    for together in (True, False):
        distiller = DMDistiller(ipc=1, formation=1, network="convnet_w16", compile="off")
        result = audit_set(distiller, data, out=tmp_path / str(together), together=together, **options)
        rows[together] = {row.unit: row for row in result.rows if row.attack == "shipped_statistics"}
        own = any("only the attack on the statistics" in text for text in result.not_measured)
        assert own == together
    assert set(rows[True]) == set(rows[False]) == {"image", "patient or lesion"}
    for unit, row in rows[True].items():
        assert row.rates.auc == pytest.approx(rows[False][unit].rates.auc, abs=0.01), "the halves are the same"
        assert row.rates.auc > 0.5
