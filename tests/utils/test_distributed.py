"""Two gloo processes share the students, and both have the scores of one process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from lightning_distill.utils.distributed import gather_shards, shard

RUN = """
import sys, warnings
sys.path.insert(0, sys.argv[3])
import torch
from conftest import blobs
from lightning import LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset
from lightning_distill import ArrayDataModule, StudentEvaluation
from lightning_distill.evaluation import Protocol, StudentTrainer, TrainedStudents

folder, devices = sys.argv[1], int(sys.argv[2])
trained, fit = [], StudentTrainer.fit
StudentTrainer.fit = lambda self, data, seed, **rest: (
    trained.append((self.architecture, seed, float(data.pixels.sum()))) or fit(self, data, seed, **rest)
)
said, refused, score = [], [], TrainedStudents.scores


def scores_of(self):
    said.append(self.predictions("val"))
    try:
        self.predictions("val", torch.arange(len(said[-1].targets)))
    except ValueError as error:
        refused.append(str(error))
    return score(self)


TrainedStudents.scores = scores_of
splits = [blobs(3, count, seed=seed) for seed, count in enumerate((12, 7, 6))]
splits = [((images / 60).astype("float32"), labels) for images, labels in splits]
images, labels = splits[0]
own = (torch.from_numpy(images[::5, None]), torch.from_numpy(labels[::5]))
data = ArrayDataModule(*splits, batch_size=8)
firsts = [(images[:12], labels[:12]) for images, labels in splits[1:]]
lacking = ArrayDataModule(splits[0], *firsts, batch_size=8)
x, y = map(torch.from_numpy, splits[2])
loader = DataLoader(TensorDataset(x[:, None], y), 4)  # 18 images: the sampler of two ranks repeats none


class Nothing(LightningModule):
    def validation_step(self, batch, batch_idx):
        pass

    test_step = validation_step


def run(students, stage, source, protocol="tiny"):
    global rank
    architectures = ["convnet_w16", "mlp"] if students == 3 else ["convnet_w16"]
    options = {"architectures": architectures, "synthetic_set": own, "random_baseline": students == 3}
    callback = StudentEvaluation(protocol, students, **options)
    trainer = Trainer(
        accelerator="cpu", devices=devices, strategy="ddp" if devices > 1 else "auto", logger=False, callbacks=callback,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )
    for heard in (trained, said, refused):
        heard.clear()
    rank = trainer.global_rank
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        (logged,) = getattr(trainer, stage)(Nothing(), verbose=False, **source)
    scores = callback.scores["val" if stage == "validate" else "test"]
    return {
        "logged": {name: float(value) for name, value in logged.items()}, "students": scores.students,
        "who": list(zip(scores.architectures, scores.seeds)), "seconds": scores.seconds, "trained": list(trained),
        "absent": [str(w.message) for w in caught if "no real images" in str(w.message)],
        "gone": scores.diverged, "told": [str(w.message) for w in caught if "diverged" in str(w.message)],
        "said": [said[0].logits, said[0].targets], "predicted": list(zip(said[0].architectures, said[0].seeds)),
        "refused": refused[:],
    }


results = {
    "many": run(3, "validate", {"datamodule": data}),
    "one": run(1, "test", {"datamodule": data}),
    "absent": run(2, "validate", {"datamodule": lacking}),
    "foreign": run(2, "validate", {"dataloaders": loader}),
    "wild": run(2, "validate", {"datamodule": data}, Protocol("wild", 3, lr=1e20)),
}
torch.save(results, folder + f"/{devices}-{rank}.pt")
"""


def test_of_one_process_everything_is_its_own():
    assert shard([3, 1, 2]) == [3, 1, 2]
    assert gather_shards([3, 1, 2]) == [3, 1, 2]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Results of one process, then of both ranks of two."""
    if not torch.distributed.is_available():
        pytest.skip("this torch has no torch.distributed")
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "run.py").write_text(RUN)
    tests = os.path.dirname(os.path.dirname(__file__))
    for devices in (1, 2):
        done = subprocess.run(
            [sys.executable, str(folder / "run.py"), str(folder), str(devices), tests],
            env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(folder / name, weights_only=True) for name in ("1-0.pt", "2-0.pt", "2-1.pt")]


@pytest.mark.parametrize("case", ["many", "one", "absent", "foreign", "wild"])
def test_both_ranks_have_the_scores_of_one_process(case, results):
    one, *ranks = (result[case] for result in results)
    for rank in ranks:
        assert rank["who"] == one["who"]
        for actual, expected in zip(rank["students"], one["students"], strict=True):
            assert actual == pytest.approx(expected, abs=1e-6)
        assert rank["logged"] == pytest.approx(one["logged"], abs=1e-6)
    assert ranks[0]["seconds"] == ranks[1]["seconds"] or case == "foreign"


@pytest.mark.parametrize(("case", "sittings", "first"), [("many", 2, 3), ("one", 1, 1), ("absent", 1, 1)])
def test_each_rank_trains_its_share_only(case, sittings, first, results):
    one, *ranks = (result[case]["trained"] for result in results)
    everyone = len(one) // sittings
    for rank, trained in enumerate(ranks):
        expected = [one[start + i] for start in range(0, len(one), everyone) for i in range(everyone)][rank::2]
        assert sorted(trained) == sorted(expected)
    assert len(ranks[0]) == first * sittings
    assert len(ranks[0]) + len(ranks[1]) == len(one)


def test_where_ranks_see_different_images_each_trains_everyone(results):
    one, *ranks = (result["foreign"]["trained"] for result in results)
    assert ranks == [one, one]
    assert len(one) == 2


def test_an_absent_class_is_named_once(results):
    messages = [result["absent"]["absent"] for result in results]
    assert messages == [["no real images of '2' to score on: left out of balanced accuracy and AUROC"]] * 2 + [[]]
    assert all(not result["many"]["absent"] for result in results)


@pytest.mark.parametrize("case", ["many", "one", "absent", "foreign", "wild"])
def test_both_ranks_have_the_predictions_of_one_process(case, results):
    one, *ranks = (result[case] for result in results)
    logits, targets = one["said"]
    for rank in ranks:
        assert rank["predicted"] == one["who"]
        others, seen = rank["said"]
        if case == "foreign":  # the sampler gives each rank every second image; they come one rank after the other
            order = torch.cat([torch.arange(0, 18, 2), torch.arange(1, 18, 2)])
            assert torch.equal(seen, targets[order])
            torch.testing.assert_close(others, logits[:, order], rtol=1e-4, atol=1e-5)
        else:
            assert torch.equal(seen, targets)
            torch.testing.assert_close(others, logits, rtol=1e-4, atol=1e-5)


def test_groups_of_images_whose_order_is_lost_are_refused(results):
    messages = [result["foreign"]["refused"] for result in results]
    assert messages == [[], *[["groups of images spread over 2 ranks; show every rank all images"]] * 2]
    assert all(not result["many"]["refused"] for result in results)


def test_students_that_diverge_are_counted_on_every_rank_and_named_on_the_first(results):
    assert all(result["wild"]["gone"] == [0, 1] for result in results)
    one, first, second = (result["wild"]["told"] for result in results)
    assert len(one) == 1
    assert "('convnet_w16' with seed 0, 'convnet_w16' with seed 1)" in one[0]
    assert (first, second) == (one, [])
    assert all(not result["many"]["gone"] and not result["many"]["told"] for result in results)
