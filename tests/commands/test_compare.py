"""``compare``: the paired comparison of two sets, from what ``evaluate --predictions`` wrote."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lightning_distill.cli import main
from lightning_distill.commands.compare import compare, distinct_names
from lightning_distill.evaluation.metrics.predictions import Predictions
from lightning_distill.spec import DataSpec

SPEC = DataSpec("numbers", (1, 8, 8), ("a", "b", "c"), (0.0,), (1.0,))


def predictions_of(right: float, targets: torch.Tensor, seed: int, split: str = "test") -> Predictions:
    """Two students that are right of a share of the images, each image with its own luck."""
    random = torch.Generator().manual_seed(seed)
    wrong = torch.rand(len(targets), generator=random) > right
    guess = torch.where(wrong, (targets + 1) % 3, targets)
    logits = 4.0 * torch.nn.functional.one_hot(guess, 3).float()
    return Predictions(torch.stack([logits, logits]), targets, SPEC, [0, 1], ["a", "a"], split=split)


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    targets = torch.arange(300) % 3
    predictions_of(0.9, targets, 1).write("good/set.safetensors")
    predictions_of(0.6, targets, 2).write("bad/set.safetensors")
    predictions_of(0.6, targets, 3).write("random.safetensors")
    predictions_of(0.6, targets.flip(0), 3).write("others.safetensors")
    return tmp_path


def test_the_better_set_is_named_and_a_draw_is_called_one(files, capsys):
    main(["compare", "good/set.safetensors", "bad/set.safetensors", "--metrics", "acc", "nll"])
    shown = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines() if line.startswith("│")]
    assert [(row[0], row[-1]) for row in rows] == [("acc", "good/set"), ("nll", "good/set")]  # less loss is better
    assert "300 images" in shown
    comparisons = compare(["bad/set.safetensors", "random.safetensors"])
    assert set(comparisons) == {"acc", "balanced_acc", "auroc"}
    change = comparisons["acc"].difference
    first, second = (Predictions.read(name) for name in ("bad/set.safetensors", "random.safetensors"))
    means = [(of.logits[0].argmax(1) == of.targets).float().mean().item() for of in (first, second)]
    assert change.mean == pytest.approx(means[0] - means[1], abs=1e-6)
    assert change.low < 0 < change.high
    assert "too close" in capsys.readouterr().out


def test_a_set_against_itself_is_no_better(files):
    same = compare(["good/set.safetensors", "good/set.safetensors"], metrics=["acc"])["acc"]
    assert (same.difference.mean, same.difference.low, same.difference.high, same.p) == (0, 0, 0, 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["good/set.safetensors"], "1 files; give two"),
        (["good/set.safetensors", "none.safetensors"], "no predictions file 'none.safetensors'"),
        (["good/set.safetensors", "others.safetensors"], "the targets differ"),
        (["good/set.safetensors", "random.safetensors", "--metrics", "kappa"], "unknown metric 'kappa'"),
    ],
)
def test_bad_comparisons_are_refused(files, capsys, words, message):
    with pytest.raises(SystemExit):
        main(["compare", *words])
    assert message in capsys.readouterr().err


def test_files_are_named_by_what_tells_them_apart():
    assert distinct_names(["runs/a/set.safetensors", "runs/a/random.safetensors"]) == ["set", "random"]
    assert distinct_names(["runs/a/dm.safetensors", "runs/b/dm.safetensors"]) == ["a/dm", "b/dm"]
    assert distinct_names(["dm.safetensors", "dm.safetensors"]) == ["dm", "dm"]


def test_volumes_are_compared_by_the_mean_probability_over_their_slices(tmp_path, capsys):
    targets, groups = (torch.arange(300) // 3) % 3, torch.arange(300) // 3
    names = []
    for seed, right in enumerate((0.9, 0.6)):
        names.append(str(tmp_path / f"{seed}.safetensors"))
        replace(predictions_of(right, targets, seed), groups=groups).write(names[-1])
    difference = compare(names, metrics=["acc"], by_group=True)["acc"].difference
    assert (difference.n, difference.unit) == (100, "groups")
    assert "100 groups" in capsys.readouterr().out
    means = []
    for name in names:
        sums = Predictions.read(name).probabilities[0].reshape(100, 3, 3).sum(1)
        means.append((sums.argmax(1) == targets[::3]).float().mean().item())
    assert difference.mean == pytest.approx(means[0] - means[1], abs=1e-6)
    predictions_of(0.9, targets, 1).write(names[0])
    with pytest.raises(ValueError, match="the groups of 300 images are unknown"):
        compare(names, metrics=["acc"], by_group=True)
