"""The audit as a whole: self-tests on recipes whose leakage is known, interruption, and bad input."""

from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_distill import DigitsDataModule, DMDistiller, KRRDistiller, MTTDistiller, audit_set
from lightning_distill.leakage.audit_run import PICTURE, RESULT
from lightning_distill.leakage.halves import draw_halves
from lightning_distill.leakage.measure import Measurer, image_statistics
from lightning_distill.leakage.members import members_of
from lightning_distill.leakage.pairs import save_closest_pairs
from lightning_distill.leakage.recipes import MadeSet, PickRecipe
from lightning_distill.leakage.score import rows_of_shadows, score_shadows
from lightning_distill.leakage.shadows import ShadowRun, make_one_by_one
from lightning_distill.leakage.table import ShadowTable
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.utils.progress import ProgressCounter

SMALL = {"network": "convnet_w16", "compile": "off"}


def shadow_table(recipe, data, folder, shadows=16):
    members = members_of(data)
    halves = draw_halves(members.strata, members.units, shadows, 0, members.spec.balance_groups)
    measurer = Measurer(members, network="convnet_w16", protocol="tiny", queries=1)
    run = ShadowRun(recipe, data, halves, folder, measurer)
    run.run(ProgressCounter(None, shadows))
    return ShadowTable.read([run.path(i) for i in range(shadows)], halves, image_statistics(members)), members


@dataclass(frozen=True)
class Foreign:
    """A recipe that never looks at the data: images of another place, new ones for each set."""

    name: str = "foreign"
    ships_images: bool = True

    def make(self, data):
        seed = int(data.train_arrays()[0].sum()) % 1000  # other images each time, unrelated to those of the half
        generator = torch.Generator().manual_seed(seed)
        pixels = torch.randint(0, 256, (4, *data.spec.shape), generator=generator, dtype=torch.uint8)
        public = replace(data.spec, mean=(100.0,), std=(50.0,))  # the statistics of the half are not shipped
        return MadeSet(LabeledSet(pixels, torch.tensor([0, 0, 1, 1]), public))

    def describe(self):
        return {"kind": "foreign"}


def test_a_shipped_random_subset_is_found_at_a_thousandth_of_false_positives(tmp_path):
    table, members = shadow_table(PickRecipe("random", "random", ipc=3), DigitsDataModule(), tmp_path, shadows=8)
    rows = {row.attack: row for row in rows_of_shadows("random", table, score_shadows(table), members)}
    row = rows["pixel_distance"]
    assert row.rates.rates[1].resolvable
    assert row.started["fpr"] <= 0.001
    assert row.started["tpr"] > 0.98
    assert row.started["images"] > 150
    shipped, inside = 30, table.members.sum(1).mean()
    assert row.rates.rates[1].tpr == pytest.approx(shipped / inside, abs=0.01), "nobody else is found"


def test_a_set_of_other_data_leaks_nothing(tmp_path, make_clinic):
    table, members = shadow_table(Foreign(), make_clinic(200), tmp_path)
    rows = rows_of_shadows("foreign", table, score_shadows(table), members)
    for row in rows:
        assert row.rates.auc_low - 0.01 <= 0.5 <= row.rates.auc_high + 0.01, (row.attack, row.unit)
        assert abs(row.rates.auc - 0.5) < 0.06, (row.attack, row.unit)


def test_shuffled_membership_is_not_found(tmp_path, make_clinic):
    table, members = shadow_table(PickRecipe("random", "random", ipc=20), make_clinic(200), tmp_path)
    true = {row.attack: row for row in rows_of_shadows("random", table, score_shadows(table), members)}
    assert true["pixel_distance"].rates.auc > 0.6
    other = draw_halves(members.strata, members.units, len(table), 99, members.spec.balance_groups)
    shuffled = replace(table, members=other)
    for row in rows_of_shadows("random", shuffled, score_shadows(shuffled), members):
        assert row.rates.auc_low - 0.02 <= 0.5 <= row.rates.auc_high + 0.02, (row.attack, row.unit)


def test_the_audit_measures_recipe_set_baselines_and_writes_what_others_can_recompute(
    tmp_path, make_clinic, make_trainer, quick_audit
):
    from lightning_distill import SyntheticSetExport
    from lightning_distill.leakage.rates import attack_rates

    data = make_clinic()
    distiller = DMDistiller(ipc=2, formation=1, **SMALL)
    export = SyntheticSetExport(str(tmp_path / "run"))
    make_trainer(2, callbacks=[export]).fit(distiller, datamodule=data)
    seen = []
    result = audit_set(
        None,
        data,
        synthetic_set=tmp_path / "run" / "last",
        attach=True,
        out=tmp_path / "audit",
        baselines=["random", "herding", "full", "noise"],
        canaries=20,
        claimed_epsilon=40.0,
        on_rows=lambda so_far, name: seen.append(name),
        **quick_audit,
    )
    assert seen == ["DMDistiller", "random", "herding", "full", "noise"], "the recipe comes first"
    assert {row.unit for row in result.rows} == {"image", "patient or lesion"}
    assert {row.target for row in result.rows} == {"shadows", "set"}
    assert {row.attack for row in result.of("full")} == {
        "lira_online", "lira_offline", "rmia", "loss", "shipped_statistics",
    }  # fmt: skip
    assert "lira_online" not in {row.attack for row in result.of("DMDistiller", "set")}
    assert result.of("noise")[0].started is None
    assert result.of("DMDistiller")[0].started["images"] > 0
    assert result.recovery[0]["top1"] == 1
    assert set(result.copies) == {"DMDistiller", "set", "random", "herding", "noise"}
    assert result.canaries["violated"] is False
    assert any("epsilon is at least" in text for text in result.sentences())
    assert result.about["patients"] == 60
    for text in [*result.sentences(), *result.not_measured]:
        assert "private" not in text.lower()
        assert "anonym" not in text.lower()
    with np.load(tmp_path / "audit" / "scores-DMDistiller.npz", allow_pickle=False) as scores:
        assert scores["member"].shape == scores["lira_online"].shape == (8, 120)
        rates = attack_rates(scores["lira_online"].astype(np.float64), scores["member"], 120)
        assert rates.auc == pytest.approx(result.of("DMDistiller")[0].rates.auc, abs=1e-3)
    with Image.open(tmp_path / "audit" / PICTURE) as picture:
        assert picture.width > picture.height
    plain = json.loads((tmp_path / "audit" / RESULT).read_text())
    assert plain["rows"][0]["exposed"][0]["number"] >= 0
    assert "number" not in json.dumps(result.to_dict()["rows"][0]["exposed"]), "cards hold no rows of images"


def test_an_interrupted_audit_goes_on_and_more_shadows_can_be_added(tmp_path, make_clinic, quick_audit):
    data, made = make_clinic(), []

    def counted(recipe, halves):
        made.append(recipe.name)
        if len(made) == 4:
            raise KeyboardInterrupt
        return make_one_by_one(recipe, halves)

    options = {**quick_audit, "out": tmp_path, "baselines": [], "maker": counted}
    with pytest.raises(KeyboardInterrupt):
        audit_set("random", data, ipc=2, **options)
    files = sorted((tmp_path / "shadows" / "random").iterdir())
    assert len(files) == 3
    times = [file.stat().st_mtime_ns for file in files]
    first = audit_set("random", data, ipc=2, **options)
    assert len(made) == 4 + 5, "finished shadow sets are not made again"
    assert [file.stat().st_mtime_ns for file in files] == times
    again = audit_set("random", make_clinic(), ipc=2, **{**options, "out": tmp_path / "other"})
    assert [row.rates for row in again.rows] == [row.rates for row in first.rows], "as without interruption"
    made.clear()
    audit_set("random", data, ipc=2, **{**options, "shadows": 10})
    assert made == ["random"] * 2
    with pytest.raises(ValueError, match="another recipe"):
        audit_set("random", data, ipc=1, **options)
    files[0].write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"shadow-000.safetensors is damaged"):
        audit_set("random", data, ipc=2, **options)


def test_soft_labels_get_a_row_without_them(tmp_path, make_clinic, quick_audit):
    distiller = KRRDistiller(ipc=1, soft_labels=True, formation=1, network_steps=0, **SMALL)
    result = audit_set(distiller, make_clinic(), steps=1, out=tmp_path, baselines=[], recovery=False, **quick_audit)
    assert list(result.utility) == ["KRRDistiller", "hard labels"]
    assert result.of("hard labels")[0].started is not None, "the starts of the same sets"
    assert not any("Soft labels" in text for text in result.not_measured)


def test_a_variant_with_a_guarantee_stands_beside(tmp_path, make_clinic, quick_audit):
    pytest.importorskip("opacus")
    distiller, options = DMDistiller(ipc=1, formation=1, **SMALL), {**quick_audit, "out": tmp_path}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes too small for the epsilon
        result = audit_set(
            distiller, make_clinic(size=16), steps=2, baselines=["dp"], dp_epsilon=4, recovery=False, **options
        )
    assert list(result.utility) == ["DMDistiller", "dp epsilon 4"]
    assert result.of("dp epsilon 4")[0].started is None
    assert not any("differential privacy was not" in text for text in result.not_measured)
    krr = KRRDistiller(ipc=1, formation=1, **SMALL)
    with pytest.raises(ValueError, match="KRRDistiller has no variant with a guarantee"):
        audit_set(krr, make_clinic(), steps=1, baselines=["dp"], **{**options, "out": tmp_path / "never"})
    assert not (tmp_path / "never").exists()


def test_images_are_counted_where_patients_are_unknown(tmp_path, make_clinic, quick_audit):
    result = audit_set("random", make_clinic(per_patient=1), ipc=1, out=tmp_path, baselines=[], **quick_audit)
    assert {row.unit for row in result.rows} == {"image"}
    assert any("Patients are unknown" in text for text in result.not_measured)


def test_the_closest_pairs_are_the_copies(tmp_path, make_clinic):
    members = members_of(make_clinic())
    pixels = torch.randint(0, 256, (12, 1, 8, 8), dtype=torch.uint8)
    pixels[5] = torch.from_numpy(members.images[17])
    made = LabeledSet(pixels, torch.arange(12) % 2, members.spec)
    values = save_closest_pairs(tmp_path / "pairs.png", made, members)
    assert values[0] == pytest.approx(1, abs=1e-5)
    assert values[1] < 0.9
    with Image.open(tmp_path / "pairs.png") as picture:
        shown = np.asarray(picture)
    half, cell = shown.shape[0] // 2, shown.shape[1] // 10
    np.testing.assert_array_equal(shown[4 : half - 4, 4 : cell - 4], shown[half + 3 : -5, 4 : cell - 4])


def test_bad_input_is_refused_before_work(tmp_path, make_clinic, quick_audit):
    data, options = make_clinic(), {**quick_audit, "out": tmp_path / "never"}
    yaml = tmp_path / "fit.yaml"
    for content, message in {
        "a: [": "is not a YAML file",
        "model: {}": "no model.class_path",
        "model: {class_path: DMDistiller, init_args: {ipc: 1}}": "no trainer.max_steps",
        "model: {class_path: Nothing}\ntrainer: {max_steps: 2}": "there is no method 'Nothing'",
        "model: {class_path: lightning_distill.DataSpec}\ntrainer: {max_steps: 2}": "is no distiller",
        "model: {class_path: DMDistiller, init_args: {ipx: 1}}\ntrainer: {max_steps: 2}": "do not fit DMDistiller",
        "model: {class_path: MTTDistiller, init_args: {experts: x}}\ntrainer: {max_steps: 2}": "reads experts",
    }.items():
        yaml.write_text(content)
        with pytest.raises(ValueError, match=message):
            audit_set(str(yaml), data, **options)
    with pytest.raises(FileNotFoundError, match="there is no configuration"):
        audit_set(str(tmp_path / "no.yaml"), data, **options)
    with pytest.raises(ValueError, match="shadows=6; an even number of at least 8"):
        audit_set("random", data, **{**options, "shadows": 6})
    with pytest.raises(ValueError, match="unknown baseline 'nothing'"):
        audit_set("random", data, baselines=["nothing"], **options)
    with pytest.raises(ValueError, match="give synthetic_set"):
        audit_set("random", data, attach=True, **options)
    with pytest.raises(ValueError, match="tested by canaries"):
        audit_set("random", data, claimed_epsilon=1.0, **options)
    with pytest.raises(ValueError, match="give the configuration"):
        audit_set(None, data, **options)
    with pytest.raises(ValueError, match="ipc is an option of picked images"):
        audit_set({"model": {"class_path": "DMDistiller"}}, data, ipc=2, **options)
    with pytest.raises(ValueError, match=r"in a random half of the patients class '0' has \d+ training images, ipc=40"):
        audit_set(DMDistiller(ipc=40, formation=1, **SMALL), data, steps=1, **options)
    assert MTTDistiller.local_path_args == ["experts"]
    assert not (tmp_path / "never").exists()


def test_a_set_of_another_recipe_or_other_data_is_refused(tmp_path, make_clinic, make_trainer, quick_audit):
    from lightning_distill import SyntheticSetExport

    data = make_clinic()
    distiller = DMDistiller(ipc=1, formation=1, **SMALL)
    make_trainer(2, callbacks=[SyntheticSetExport(str(tmp_path / "run"))]).fit(distiller, datamodule=data)
    made, options = tmp_path / "run" / "last", {**quick_audit, "out": tmp_path / "never"}

    def config(steps=2, method="DMDistiller", **arguments):
        return {
            "model": {"class_path": method, "init_args": {"ipc": 1, "formation": 1, **SMALL, **arguments}},
            "trainer": {"max_steps": steps},
        }

    for other, message in (
        (config(steps=3), "made with steps=2, the configuration says 3"),
        (config(ipc=2), "made with ipc=1, the configuration says 2"),
        (config(init="noise"), "made with init='herding', the configuration says 'noise'"),
        (config(method="KRRDistiller"), "made with method='DMDistiller', the configuration says 'KRRDistiller'"),
    ):
        with pytest.raises(ValueError, match=message):
            audit_set(other, data, synthetic_set=made, **options)
    for pick in ("random", "full"):
        with pytest.raises(ValueError, match=r"made with method='DMDistiller', the conf|full makes no set"):
            audit_set(pick, data, synthetic_set=made, **options)
    for name in ("steps", "ipc"):
        with pytest.raises(ValueError, match=f"{name} is that of the card"):
            audit_set(None, data, synthetic_set=made, **{name: 1}, **options)
    with pytest.raises(ValueError, match="the set's shape is"):
        audit_set(config(), make_clinic(size=16), synthetic_set=made, **options)
    stranger = make_clinic(seed=1)
    with pytest.raises(ValueError, match="made from 120 images, and 0 of the 120 training images of clinic"):
        audit_set(config(), stranger, synthetic_set=made, **options)
    assert not (tmp_path / "never").exists()


def test_the_recipe_of_picks_and_of_soft_labels_is_read_from_the_card(tmp_path, make_clinic, make_trainer):
    from lightning_distill import SyntheticSetExport
    from lightning_distill.commands.coreset import coreset
    from lightning_distill.leakage.config import check_belongs, recipe_of_card
    from lightning_distill.leakage.members import members_of
    from lightning_distill.leakage.recipes import DistillRecipe, PickRecipe
    from lightning_distill.sets.card import relabelled_card
    from lightning_distill.sets.storage import read_set

    data = make_clinic()
    picked, card = read_set(coreset(data, method="herding", ipc=3, out=str(tmp_path / "picked")))
    recipe = recipe_of_card(card)
    assert recipe == PickRecipe("herding", "herding", 3)
    members = members_of(data)
    check_belongs(recipe, members, picked, card)
    with pytest.raises(ValueError, match="made with ipc=3, the configuration says 4"):
        check_belongs(PickRecipe("herding", "herding", 4), members, picked, card)
    with pytest.raises(ValueError, match="another ratio or space"):
        recipe_of_card({**card, "hyper_parameters": {**card["hyper_parameters"], "ratio": "natural"}})
    export = SyntheticSetExport(str(tmp_path / "run"))
    make_trainer(1, callbacks=[export]).fit(DMDistiller(ipc=1, formation=1, **SMALL), datamodule=data)
    made, card = read_set(tmp_path / "run" / "last")
    record = {
        "teachers": 2, "network": "convnet_w16", "protocol": "tiny", "temperature": 1.0, "prior": "balanced", "views": 3
    }  # fmt: skip
    soft = replace(made, soft_labels=torch.full((2, 2), 0.5))
    recipe = fitted = recipe_of_card(relabelled_card(card, record))
    assert isinstance(recipe, DistillRecipe)
    assert (recipe.teachers, recipe.network, recipe.protocol, recipe.prior, recipe.views) == (
        2, "convnet_w16", "tiny", "balanced", 3)  # fmt: skip
    check_belongs(fitted, members, soft, card)
    with pytest.raises(ValueError, match="the set has soft labels, the configuration makes none"):
        check_belongs(recipe_of_card(card), members, soft, card)


def test_a_folder_of_other_images_is_refused_and_its_embedding_not_taken(tmp_path, make_clinic, quick_audit):
    options = {**quick_audit, "out": tmp_path / "audit", "baselines": []}
    audit_set("random", make_clinic(), ipc=2, **options)
    other = make_clinic(seed=1)
    with pytest.raises(ValueError, match="other data or other settings"):
        audit_set("random", other, ipc=2, **options)
    shutil.rmtree(tmp_path / "audit" / "shadows")
    audit_set("random", other, ipc=2, **options)
    assert len(list((tmp_path / "audit").glob("embedding-*.safetensors"))) == 2
    fewer = make_clinic(seed=1)
    fewer.setup()
    fewer.splits["val"] = tuple(part[:-2] for part in fewer.splits["val"])
    fewer.groups["val"] = fewer.groups["val"][:-2]
    with pytest.raises(ValueError, match="other data or other settings"):
        audit_set("random", fewer, ipc=2, **options)


def test_a_folder_with_another_recipe_as_baseline_is_refused_before_work(tmp_path, make_clinic, quick_audit):
    data, options = make_clinic(), {**quick_audit, "out": tmp_path / "audit"}
    audit_set("random", data, ipc=2, baselines=[], **options)

    def never(recipe, halves):
        raise AssertionError("a shadow set was made")

    with pytest.raises(ValueError, match="random holds shadow sets of another recipe"):
        audit_set("herding", data, ipc=1, baselines=["random"], maker=never, **options)


def test_arguments_that_would_be_ignored_are_refused(tmp_path, make_clinic, quick_audit):
    data, options = make_clinic(), {**quick_audit, "out": tmp_path / "never", "baselines": []}
    with pytest.raises(ValueError, match="random takes no steps"):
        audit_set("random", data, steps=5, **options)
    with pytest.raises(ValueError, match="full takes all images"):
        audit_set("full", data, ipc=5, **options)
    with pytest.raises(ValueError, match=r"claimed_delta=-0\.1"):
        audit_set("random", data, canaries=8, claimed_epsilon=8.0, claimed_delta=-0.1, **options)
    with pytest.raises(ValueError, match="canaries=2; give at least 4"):
        audit_set("random", data, canaries=2, **options)
    with pytest.raises(ValueError, match=r"canaries=999, but there are 40 held-out .* or canary_kind="):
        audit_set("random", data, canaries=999, **options)
    assert not (tmp_path / "never").exists()
