from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.dummy import DummyClassifier
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score

from lightning_distill.evaluation.metrics.relative import (
    RelativeScores,
    augmentation_robust_score,
    break_even,
    bytes_of,
    bytes_of_arrays,
    bytes_ratio,
    chance,
    gain_random,
    gap_full,
    label_robust_score,
    recovery,
    recovery_above_chance,
    relative_scores,
    seconds_saved,
)
from lightning_distill.spec import DataSpec

NAN = math.nan


def spec_of(classes: int, task: str = "multi-class") -> DataSpec:
    return DataSpec("made", (1, 8, 8), tuple(f"c{k}" for k in range(classes)), (0.0,), (1.0,), task=task)


def lrs_again(syn, full, random, weight=0.5):
    """LRS once more, from the shape of the map: a in [-1, 1] goes through sinh(.5 (a + 1)) e^(.5 (a - 1)) / sinh 1."""
    a = weight * syn - weight * random - full + syn + weight * full - weight * syn
    return math.sinh((a + 1) / 2) * math.exp((a - 1) / 2) / math.sinh(1)


# --- gaps and recoveries --------------------------------------------------------------------------------------------


def test_gaps_and_recoveries_by_hand():
    assert gap_full(0.45, 0.86) == pytest.approx(0.41)
    assert gain_random(0.45, 0.26) == pytest.approx(0.19)
    assert recovery(0.45, 0.9) == pytest.approx(0.5)
    assert recovery_above_chance(0.45, 0.9, 0.3) == pytest.approx(0.25)


def test_recovery_above_chance_is_zero_at_chance_one_at_full_and_blind_to_the_unit():
    assert recovery_above_chance(0.3, 0.9, 0.3) == 0
    assert recovery_above_chance(0.9, 0.9, 0.3) == 1
    assert recovery_above_chance(0.2, 0.9, 0.3) < 0, "worse than chance is shown, not clipped"
    random = np.random.default_rng(0)
    for syn, full, guess in random.random((50, 3)):
        if full > guess:
            scaled = recovery_above_chance(2 * syn + 1, 2 * full + 1, 2 * guess + 1)
            assert recovery_above_chance(syn, full, guess) == pytest.approx(scaled)


def test_a_share_of_nothing_has_no_value():
    assert math.isnan(recovery_above_chance(0.5, 0.4, 0.4))
    assert math.isnan(recovery_above_chance(0.5, 0.3, 0.4))
    assert math.isnan(recovery(0.5, 0.0))
    assert math.isnan(recovery_above_chance(0.5, 0.9, NAN))
    assert math.isnan(recovery(0.5, NAN))


# --- chance ---------------------------------------------------------------------------------------------------------


def test_chance_is_what_a_blind_predictor_scores():
    y = np.random.default_rng(1).choice(4, 200, p=[0.5, 0.3, 0.15, 0.05])
    x, blind = np.zeros((200, 1)), DummyClassifier(strategy="most_frequent")
    predicted = blind.fit(x, y).predict(x)
    targets, spec = torch.from_numpy(y), spec_of(4)
    assert chance("acc", targets, spec) == pytest.approx(accuracy_score(y, predicted))
    assert chance("balanced_acc", targets, spec) == pytest.approx(balanced_accuracy_score(y, predicted))
    assert chance("auroc", targets, spec) == roc_auc_score(y == 0, np.zeros(200))


def test_chance_of_labels_is_the_mean_of_the_better_constant():
    y = (np.random.default_rng(2).random((300, 3)) < [0.05, 0.5, 0.9]).astype(int)
    best = np.mean([max(accuracy_score(y[:, k], np.full(300, c)) for c in (0, 1)) for k in range(3)])
    targets, spec = torch.from_numpy(y), spec_of(3, "multi-label")
    assert chance("acc", targets, spec) == pytest.approx(best)
    assert chance("balanced_acc", targets, spec) == 0.5
    assert chance("auroc/c1", targets, spec) == 0.5


def test_a_class_the_split_lacks_is_not_in_its_chance():
    assert chance("balanced_acc", torch.tensor([0, 0, 2, 2]), spec_of(4)) == 0.5
    assert chance("acc", torch.tensor([0, 0, 0, 2]), spec_of(4)) == 0.75


def test_chance_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="'ece' of multi-class labels"):
        chance("ece", torch.tensor([0, 1]), spec_of(2))
    with pytest.raises(ValueError, match="0 images"):
        chance("acc", torch.tensor([], dtype=torch.int64), spec_of(2))


# --- DD-Ranking -----------------------------------------------------------------------------------------------------


def test_lrs_sanity_value():
    assert label_robust_score(syn=0.45, full=0.86, random=0.26) == pytest.approx(0.2246, abs=5e-5)


def test_lrs_and_ars_against_other_algebra():
    for syn, full, random, weight in np.random.default_rng(3).random((50, 4)):
        assert label_robust_score(syn, full, random, weight) == pytest.approx(lrs_again(syn, full, random, weight))
        # ARS is LRS with the second loss against random images without augmentation
        ars = augmentation_robust_score(syn, random, full, random / 2, weight)
        a = weight * (syn - random) + (1 - weight) * (full - random / 2)
        assert math.log(ars * (math.e - 1 / math.e) + 1 / math.e) == pytest.approx(a)


def test_lrs_is_monotone_and_stays_between_zero_and_one():
    grid = np.linspace(0, 1, 21)
    assert (np.diff([label_robust_score(s, 0.8, 0.3) for s in grid]) > 0).all(), "grows with the set"
    assert (np.diff([label_robust_score(0.5, f, 0.3) for f in grid]) < 0).all(), "falls with the full data"
    assert (np.diff([label_robust_score(0.5, 0.8, r) for r in grid]) < 0).all(), "falls with random images"
    assert (np.diff([augmentation_robust_score(s, 0.3, 0.5, 0.3) for s in grid]) > 0).all()
    assert label_robust_score(1, 0, 0) == 1
    assert label_robust_score(0, 1, 1) == 0


def test_as_good_as_random_has_one_ars_whatever_the_weight():
    for weight in (0.0, 0.3, 1.0):
        assert augmentation_robust_score(0.4, 0.4, 0.2, 0.2, weight) == pytest.approx(0.2689, abs=5e-5)


def test_percent_is_refused_where_a_fraction_belongs():
    with pytest.raises(ValueError, match=r"syn=45\.0 is not a fraction"):
        label_robust_score(45.0, 0.86, 0.26)
    with pytest.raises(ValueError, match="weight=2"):
        label_robust_score(0.45, 0.86, 0.26, weight=2)
    with pytest.raises(ValueError, match="random_plain=-1"):
        augmentation_robust_score(0.4, 0.4, 0.4, -1)


# --- bytes and seconds ----------------------------------------------------------------------------------------------


def test_bytes_are_counted_not_images(tmp_path):
    assert bytes_ratio(4 * 32 * 32, 28 * 28) == pytest.approx(5.2, abs=0.05)
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.bin").write_bytes(b"x" * 100)
    (tmp_path / "sub" / "b.bin").write_bytes(b"x" * 23)
    assert bytes_of(tmp_path / "a.bin") == 100
    assert bytes_of(str(tmp_path)) == 123
    with pytest.raises(FileNotFoundError, match=r"no 'c\.bin'"):
        bytes_of(tmp_path / "c.bin")
    with pytest.raises(ValueError, match="real=0 bytes"):
        bytes_ratio(10, 0)


def test_arrays_weigh_what_a_plain_file_of_them_would(tmp_path):
    pixels, labels = np.zeros((10, 3, 28, 28), np.uint8), np.arange(10, dtype=np.int64)
    assert bytes_of_arrays(pixels, labels) == 10 * 3 * 28 * 28 + 10
    assert bytes_of_arrays(pixels.astype(np.float16), labels) == 2 * 10 * 3 * 28 * 28 + 10
    assert bytes_of_arrays(pixels, 1000 * labels) == 10 * 3 * 28 * 28 + 20, "labels beyond 255 need two bytes"
    (tmp_path / "raw").write_bytes(pixels.tobytes() + labels.astype(np.uint8).tobytes())
    assert bytes_of_arrays(pixels, labels) == bytes_of(tmp_path / "raw")


def test_break_even_is_where_the_two_bills_meet():
    saved = seconds_saved(full=60.0, syn=10.0)
    trainings = break_even(distillation=1000.0, saved=saved)
    assert 1000 + trainings * 10 == pytest.approx(trainings * 60)
    assert trainings == 20


def test_nothing_saved_never_pays():
    assert break_even(100, 0) == math.inf
    assert break_even(100, -3) == math.inf
    assert math.isnan(break_even(NAN, 0))
    assert math.isnan(break_even(100, NAN))


# --- all together ---------------------------------------------------------------------------------------------------

WHOLE = SimpleNamespace(
    scores={"syn": 0.45, "full": 0.86, "random": 0.26, "chance": 0.1},
    rest={
        "syn_plain": 0.4,
        "random_plain": 0.25,
        "shipped_bytes": 2000,
        "real_bytes": 1_000_000,
        "full_seconds": 60.0,
        "syn_seconds": 10.0,
        "distillation_seconds": 1000.0,
    },
)


def test_derive_is_its_parts():
    derived = relative_scores(**WHOLE.scores, **WHOLE.rest)
    assert derived.to_dict() == {
        "gap_full": 0.86 - 0.45,
        "acc_gain_over_random": 0.45 - 0.26,
        "recovery": 0.45 / 0.86,
        "recovery_above_chance": (0.45 - 0.1) / (0.86 - 0.1),
        "lrs": label_robust_score(0.45, 0.86, 0.26),
        "ars": augmentation_robust_score(0.45, 0.26, 0.4, 0.25),
        "bytes_ratio": 0.002,
        "seconds_saved": 50.0,
        "break_even": 20.0,
    }
    assert len(derived.table_rows()) == 9


@pytest.mark.parametrize(
    ("missing", "unknown"),
    [
        ("full", {"gap_full", "recovery", "recovery_above_chance", "lrs"}),
        ("random", {"acc_gain_over_random", "lrs", "ars"}),
        ("chance", {"recovery_above_chance"}),
        ("syn_plain", {"ars"}),
        ("random_plain", {"ars"}),
        ("shipped_bytes", {"bytes_ratio"}),
        ("real_bytes", {"bytes_ratio"}),
        ("full_seconds", {"seconds_saved", "break_even"}),
        ("syn_seconds", {"seconds_saved", "break_even"}),
        ("distillation_seconds", {"break_even"}),
    ],
)
def test_what_is_missing_is_nan_and_takes_nothing_else_with_it(missing, unknown):
    values = {**WHOLE.scores, **WHOLE.rest}
    del values[missing]
    derived = relative_scores(**values)
    assert {name for name, value in derived.to_dict().items() if math.isnan(value)} == unknown
    assert len(derived.table_rows()) == 9 - len(unknown)


def test_rows_are_read_by_people_and_the_dictionary_by_machines():
    derived = relative_scores(**WHOLE.scores, **WHOLE.rest)
    rows = dict(derived.table_rows())
    assert rows["against all real images"] == "-41.0 points"
    assert rows["against random images"] == "+19.0 points"
    assert rows["label-robust score (LRS)"] == "0.2246"
    assert rows["bytes kept"] == "0.2 %"
    assert RelativeScores().table_rows() == []
    assert dict(RelativeScores(break_even=math.inf).table_rows()) == {"trainings until distilling has paid": "never"}
    assert json.loads(json.dumps(derived.to_dict())) == derived.to_dict()


def test_derive_refuses_percent():
    with pytest.raises(ValueError, match=r"full=86\.0 is not a fraction"):
        relative_scores(0.45, 86.0)
