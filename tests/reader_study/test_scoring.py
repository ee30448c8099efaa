"""Scores of simulated readers against re-derivations, answers that are missing, double or foreign, and sentences."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
from scipy.stats import beta
from sklearn.metrics import roc_auc_score

from lightning_distill.reader_study import read_answers, score_answers
from lightning_distill.reader_study.matrices import answer_matrices
from lightning_distill.reader_study.resampling import bootstrap_intervals
from lightning_distill.reader_study.study import new_identifier
from lightning_distill.reader_study.summary import count_lines, power_text, sentence


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def rewrite(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def row_of(scores, reader, name="A"):
    (score,) = [score for score in scores if (score.set, score.reader) == (name, reader)]
    return score


def test_scores_are_those_of_the_csv_files_counted_by_hand(make_study, answer):
    folder, key = make_study(sets=("A", "B"), items=15, repeats=8)
    files = [answer(folder, key, "R1", 0.9, 0), answer(folder, key, "R2", 0.6, 1)]
    scores = score_answers(read_answers(files, key), key, resamples=200)
    assert [(score.set, score.reader) for score in scores] == [
        (name, reader) for name in ("A", "B", "all") for reader in ("R1", "R2", "all")
    ]
    for path, reader in zip(files, ("R1", "R2"), strict=True):
        first = [row for row in rows_of(path) if row["showing"] == "1" and key.set_of(row["trial"]) == "B"]
        truth = [key.right_answer(row["trial"]) == "synthetic" for row in first]
        called = [row["answer"] == "synthetic" for row in first]
        right = sum(t == c for t, c in zip(truth, called, strict=True))
        rating = [int(row["confidence"]) * (1 if c else -1) for row, c in zip(first, called, strict=True)]
        score = row_of(scores, reader, "B")
        assert (score.trials, score.answers, score.right, score.accuracy) == (30, 30, right, right / 30)
        assert score.exact_low == pytest.approx(beta.ppf(0.025, right, 31 - right))
        assert score.exact_high == pytest.approx(beta.ppf(0.975, right + 1, 30 - right))
        assert score.auc == pytest.approx(roc_auc_score(truth, rating))
        second = {row["trial"]: row["answer"] for row in rows_of(path) if row["showing"] == "2"}
        same = [row["answer"] == second[row["trial"]] for row in first if row["trial"] in second]
        assert score.repeats == len(same)
        assert math.isclose(score.self_agreement, np.mean(same)) if same else math.isnan(score.self_agreement)
    both = row_of(scores, "all", "B")
    one, other = row_of(scores, "R1", "B"), row_of(scores, "R2", "B")
    assert both.d_prime == pytest.approx((one.d_prime + other.d_prime) / 2)
    assert both.auc == pytest.approx((one.auc + other.auc) / 2)
    assert both.right == one.right + other.right
    assert row_of(scores, "all", "all").answers == 120


def test_the_interval_of_half_right_answers_is_the_published_one(make_study, answer):
    folder, key = make_study(images=140, real=400, items=50, repeats=0)
    path = answer(folder, key, right=1.0)
    rows = rows_of(path)
    for row in rows[::2]:
        row["answer"] = {"real": "synthetic", "synthetic": "real"}[row["answer"]]
    score = row_of(score_answers(read_answers([rewrite(path, rows)], key), key), "R1")
    assert (score.answers, score.accuracy) == (100, 0.5)
    assert (round(score.exact_low, 2), round(score.exact_high, 2)) == (0.40, 0.60)


@pytest.mark.parametrize("design", ["yes_no", "pairs"])
def test_the_bootstrap_is_that_of_a_plain_loop(make_study, answer, design):
    folder, key = make_study(design=design, items=20, repeats=0)
    files = [answer(folder, key, f"R{n}", 0.55 + 0.1 * n, n) for n in (1, 2, 3)]
    matrices = answer_matrices(read_answers(files, key), key, "A")
    limits = bootstrap_intervals(matrices, design == "pairs", resamples=4000)
    random, accuracies, areas = np.random.default_rng(5), [], []
    for _ in range(1500):
        readers = random.integers(0, 3, 3)
        synthetic = matrices.synthetic[:, random.integers(0, 20, 20)][readers]
        accuracy = synthetic > 0
        if design == "yes_no":
            real = matrices.real[:, random.integers(0, 20, 20)][readers]
            accuracy = np.concatenate([accuracy, real < 0], 1)
            pairs = synthetic[:, :, None] - real[:, None]  # of each reader
            areas.append(((pairs > 0) + (pairs == 0) / 2).mean())
        accuracies.append(accuracy.mean())
    assert limits["accuracy"] == pytest.approx(np.percentile(accuracies, [2.5, 97.5]), abs=0.02)
    if design == "yes_no":
        assert limits["auc"] == pytest.approx(np.percentile(areas, [2.5, 97.5]), abs=0.02)
    else:
        assert set(limits) == {"accuracy", "d_prime"}


def test_pairs_have_no_criterion_and_no_area(make_study, answer):
    folder, key = make_study(design="pairs", items=30)
    scores = score_answers(read_answers([answer(folder, key, right=0.9), answer(folder, key, "R2", 0.9, 1)], key), key)
    both = row_of(scores, "all")
    assert both.accuracy > 0.75
    assert both.d_prime > 0.9
    assert math.isnan(both.criterion)
    assert math.isnan(both.auc)


def test_missing_and_duplicate_answers_are_counted_and_the_first_one_counts(make_study, answer):
    folder, key = make_study()
    trials = list(key.trials)
    full = answer(folder, key, "R1", right=1.0)
    part = answer(folder, key, "R1", right=1.0, name="part.csv", skip={(trial, 1) for trial in trials[3:]})
    rows = rows_of(part)
    rows[0]["answer"] = {"real": "synthetic", "synthetic": "real"}[rows[0]["answer"]]
    other = answer(folder, key, "R2", right=1.0, skip={(trials[0], 1), (key.repeats[0], 2)})
    answers = read_answers([full, rewrite(part, rows), other], key)
    assert answers.readers == ("R1", "R2")
    assert (answers.missing["R1"], answers.missing["R2"]) == (0, 2)
    assert answers.duplicates == {"R1": len(rows)}
    assert answers.contradictions == {"R1": 1}
    score = row_of(score_answers(answers, key, 200), "R1")
    assert (score.answers, score.accuracy) == (20, 1.0)
    assert row_of(score_answers(answers, key, 200), "R2").answers == 19
    assert count_lines(answers, key) == [
        f"R1: {len(rows)} duplicate answers, 1 of them different; the first counts",
        "R2: 2 of 24 answers missing",
        "no answers of R3",
    ]


def test_empty_answers_are_missing_and_files_of_a_spreadsheet_are_read(make_study, answer):
    folder, key = make_study()
    path = answer(folder, key)
    rows = rows_of(path)
    rows[4]["answer"] = rows[4]["confidence"] = ""
    rewrite(path, rows)
    text = path.read_text().replace(",", ";").replace("\n", "\r\n") + ";;;;;;;;;\r\n"  # and an empty row at the end
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_answers([path], key).missing == {"R1": 1}


def test_foreign_and_impossible_answers_are_refused_with_their_line(make_study, answer):
    folder, key = make_study()
    other_folder, other = make_study("other")
    with pytest.raises(ValueError, match=r"R1\.csv, line 2: answers of another study"):
        read_answers([answer(other_folder, other)], key)
    path = answer(folder, key)
    good = rows_of(path)
    for change, message in (
        ({"trials": "19"}, "line 4: the page showed 19 trials, the study states 20"),
        ({"reader": "R9"}, "line 4: reader 'R9' is none of the study's, R1, R2, R3"),
        ({"trial": "0"}, r"line 4: the study does not show trial '0' \(1\)"),
        ({"showing": "3"}, "line 4: the study does not show"),
        ({"answer": "maybe"}, "line 4: 'maybe' with confidence '.' is no answer"),
        ({"confidence": "6"}, "with confidence '6' is no answer"),
        ({"confidence": ""}, "with confidence '' is no answer"),
    ):
        rows = [dict(row) for row in good]
        rows[2] |= change
        with pytest.raises(ValueError, match=message):
            read_answers([rewrite(path, rows)], key)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="no file of a reader study: it has no column study"):
        read_answers([path], key)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is not a CSV file"):
        read_answers([path], key)
    path.write_text(",".join(good[0]) + "\n")
    with pytest.raises(ValueError, match="hold no answers"):
        read_answers([path], key)
    with pytest.raises(FileNotFoundError, match=r"no file 'none\.csv'"):
        read_answers([folder / "none.csv"], key)


def test_the_sentence_never_calls_a_failed_test_sameness(make_study, answer):
    folder, key = make_study(items=25, repeats=0)

    def text(*rights):
        files = [answer(folder, key, f"R{n}", right, n) for n, right in enumerate(rights, 1)]
        return sentence(row_of(score_answers(read_answers(files, key), key), "all"), len(rights))

    chance = text(0.5, 0.5, 0.5)
    assert "not above chance, which is no evidence that the images are alike: every share from" in chance
    assert text(0.95, 0.95).endswith("chance is 50 %): more often than by chance.")
    assert "name it wrongly" in text(0.02, 0.02)
    assert text(1.0).startswith("A: one reader was right in 100.0 % of 50 answers (95 % interval 92.9 to 100.0 %")


def test_the_power_text_states_what_the_answers_can_show():
    text = power_text(100, 1)
    assert text.startswith("100 answers, taken as independent, find a true accuracy with power ")
    assert "83 % at 65 %" in text
    assert "54 at 70 % right" in text


def test_readers_who_guess_are_above_chance_as_seldom_as_the_level_says(make_study, answer):
    folder, key = make_study(items=20, repeats=0, readers=3)
    above = 0
    for seed in range(60):
        files = [answer(folder, key, f"R{n}", 0.5, 10 * seed + n) for n in (1, 2, 3)]
        score = row_of(score_answers(read_answers(files, key), key, 300), "all")
        above += min(score.exact_low, score.low) > 0.5
    assert above <= 5  # 2.5 % of 60 are 1.5; more than 5 happen once in 200 times


def test_no_identifier_is_a_number_to_a_spreadsheet():
    for _ in range(2000):
        with pytest.raises(ValueError, match="could not convert"):
            float(new_identifier())
