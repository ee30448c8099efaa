"""The whole portfolio on tiny data: search, final scores, set, card, going on, and bad input."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from lightning_distill.cli import main
from lightning_distill.portfolio import RECIPES, distill
from lightning_distill.portfolio.budget import TooFewMinutesError
from lightning_distill.portfolio.candidate import CandidateRun
from lightning_distill.portfolio.recipes import select_recipes
from lightning_distill.portfolio.settings import describe_teachers
from lightning_distill.portfolio.state import STATE
from lightning_distill.sets.storage import read_set

SMALL = {"network": "convnet_w16", "protocol": "tiny", "students": 2, "accelerator": "cpu"}
TWO = ["dm_f2", "dm"]


def run(data, out, **options):
    return distill(data, 1, 2.0, out=out, **{**SMALL, **options})


def test_a_set_a_card_and_one_sentence(known_costs, make_data, tmp_path):
    messages: list[str] = []
    result = run(make_data(size=16), tmp_path, recipes=TWO, on_update=messages.append)
    synthetic, card = read_set(tmp_path)
    assert result.path == tmp_path / "set.safetensors"
    assert result.bytes == result.path.stat().st_size
    assert card["gain"] == json.loads(json.dumps(result.gain.to_dict()))
    assert len(card["portfolio"]["snapshots"]) == len(result.snapshots) == 3  # two candidates, then one
    assert [s.rung for s in result.snapshots] == [0, 0, 1]
    assert result.snapshot.score == max(s.score for s in result.snapshots)
    assert card["steps"] == result.snapshot.steps
    assert card["resemblance"]["set"]["images"] == len(synthetic.decode().labels)
    assert synthetic.formation == RECIPES[result.snapshot.recipe].formation
    assert f"{len(synthetic.labels)} images" in result.sentence()
    assert "all data" in result.sentence()
    assert any("step" in message for message in messages)


def test_students_of_several_networks_select_and_krr_uses_them(known_costs, make_data, tmp_path):
    options = {"recipes": ["krr", "dm"], "architectures": ["convnet_w16", "mlp"]}
    result = run(make_data(), tmp_path, **options)
    assert result.gain.architectures == ["convnet_w16"] * 2 + ["mlp"] * 2
    folders = {s.recipe: tmp_path / "candidates" / s.recipe / f"step_{s.steps}" for s in result.snapshots}
    recorded = {name: read_set(folder)[1]["hyper_parameters"].get("pool_networks") for name, folder in folders.items()}
    assert recorded == {"krr": ["mlp"], "dm": None}
    other = run(make_data(), tmp_path / "alone", recipes=["krr"], architectures=["convnet_w16"])
    assert read_set(other.path)[1]["hyper_parameters"]["pool_networks"] is None
    default = run(make_data(), tmp_path / "default", recipes=["krr"])
    assert read_set(default.path)[1]["hyper_parameters"]["pool_networks"] == ["lenet", "mlp"]
    assert default.gain.architectures == ["convnet_w16"] * 2
    with pytest.raises(ValueError, match="unknown network 'mpl'"):
        run(make_data(), tmp_path / "new", architectures=["mpl"])
    with pytest.raises(ValueError, match="holds a run with architectures=\\['convnet_w16', 'mlp'\\], not the default"):
        run(make_data(), tmp_path, recipes=["krr", "dm"])


def test_a_round_goes_on_where_the_last_one_ended(known_costs, make_data, tmp_path):
    result = run(make_data(), tmp_path, recipes=["dm"])
    assert len(result.snapshots) == 1
    whole = RECIPES["dm"].build(ipc=1, network="convnet_w16", seed=0, on_small_class="repeat", compile="off")
    from lightning import Trainer

    trainer = Trainer(
        max_steps=result.snapshot.steps, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
    )  # fmt: skip
    trainer.fit(whole, datamodule=make_data())
    assert torch.equal(read_set(tmp_path)[0].pixels, whole.synthetic.pixels())


def test_an_interrupted_run_goes_on_to_the_same_set(known_costs, make_data, tmp_path):
    whole = run(make_data(size=16), tmp_path / "whole", recipes=TWO)

    def interrupt(message):
        if message.startswith("dm: step 30"):
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run(make_data(size=16), tmp_path / "killed", recipes=TWO, on_update=interrupt)
    steps = []
    again = run(make_data(size=16), tmp_path / "killed", recipes=TWO, on_update=steps.append)
    assert not any(message.startswith("dm_f2: step 1 ") for message in steps), "the first candidate was distilled again"
    assert [s.steps for s in again.snapshots] == [s.steps for s in whole.snapshots]
    assert torch.equal(read_set(tmp_path / "killed")[0].pixels, read_set(tmp_path / "whole")[0].pixels)
    finished = run(make_data(size=16), tmp_path / "killed", recipes=TWO, on_update=lambda message: pytest.fail(message))
    assert finished.sentence() == again.sentence()


def test_bad_input_is_refused_before_work(make_data, tmp_path):
    for options, match in [
        ({"recipes": ["dn"]}, "unknown recipe 'dn'; use any of krr_f2"),
        ({"network": "convnt"}, "convnt"),
        (
            {"architectures": ["mlp", "lenet", *(f"convnet_w{w}" for w in (32, 64, 128, 256))]},
            "7 networks; give at most 6",
        ),
        ({"protocol": "fast"}, "unknown protocol 'fast'"),
        ({"metric": "mAP"}, "unknown metric 'mAP'"),
        ({"students": 0}, "students=0"),
        ({"labels": "softer"}, "unknown labels 'softer'; use one of hard, soft"),
        ({"labels": "soft", "prior": "real"}, "unknown prior 'real'"),
    ]:
        with pytest.raises(ValueError, match=match):
            run(make_data(), tmp_path / "new", **options)
    with pytest.raises(ValueError, match="minutes=0"):
        distill(make_data(), 1, 0, out=tmp_path / "new", **SMALL)
    with pytest.raises(ValueError, match="ipc=0"):
        distill(make_data(), 0, 1, out=tmp_path / "new", **SMALL)
    assert not [path for path in (tmp_path / "new").glob("*") if path.name != ".lock"]


def test_too_few_minutes_name_those_needed_and_more_go_on_in_the_folder(make_data, tmp_path):
    with pytest.raises(TooFewMinutesError, match=r"minutes=0.0001 is too short.*it needs \d") as error:
        distill(make_data(), 1, 0.0001, out=tmp_path, recipes=["dm"], **SMALL)
    measured = json.loads((tmp_path / STATE).read_text())["costs"]
    enough = 2 * error.value.minutes
    result = distill(make_data(), 1, enough, out=tmp_path, recipes=["dm"], **SMALL)
    state = json.loads((tmp_path / STATE).read_text())
    assert result.path.is_file()
    assert state["settings"]["minutes"] == enough
    assert state["costs"].keys() == measured.keys()
    assert state["costs"]["scoring"] == measured["scoring"], "nothing is timed twice"
    with pytest.raises(ValueError, match=f"holds a run with minutes={enough}, not 9"):
        distill(make_data(), 1, 9, out=tmp_path, recipes=["dm"], **SMALL)


def test_recipes_that_do_not_fit_the_images_are_left_out(make_data):
    data = make_data(size=15)
    data.setup()
    assert [recipe.name for recipe in select_recipes(None, data.spec, 1)] == ["krr", "dm"]
    with pytest.raises(ValueError, match="too small for dm_f2; add a recipe without sub-images"):
        select_recipes(["dm_f2"], data.spec, 1)


def test_recipes_without_sub_images_are_tried_where_sub_images_may_not_win(make_data):
    data = make_data(size=16)
    data.setup()
    assert [recipe.name for recipe in select_recipes(None, data.spec, 20)] == ["krr_f2", "dm_f2"]
    assert [recipe.name for recipe in select_recipes(None, data.spec, 21)] == list(RECIPES)
    assert [recipe.name for recipe in select_recipes(["krr", "dm_f2"], data.spec, 1)] == ["krr", "dm_f2"]


def test_soft_labels_are_those_of_every_scored_set_and_of_the_file(known_costs, make_data, tmp_path, monkeypatch):
    from lightning_distill.portfolio import soft_labels

    labelled = []
    relabel = soft_labels.relabel
    monkeypatch.setattr(soft_labels, "relabel", lambda s, **k: labelled.append(s) or relabel(s, **k))
    options = {"recipes": ["dm"], "labels": "soft", "teachers": 1, "prior": "balanced"}
    result = run(make_data(size=16), tmp_path, **options)
    synthetic, card = read_set(result.path)
    assert synthetic.soft_labels.shape == (2, 2)
    assert torch.allclose(synthetic.soft_labels.sum(1), torch.ones(2))
    assert card["soft_labels"]["prior"] == "balanced"
    assert card["soft_labels"]["teachers"] == 1
    assert "soft labels" in card["warning"]
    assert card["gain"] == json.loads(json.dumps(result.gain.to_dict()))
    assert len(labelled) >= 2 + 1 + 1 + 2  # two students of the search, the set, its start, two picks
    finished = run(make_data(size=16), tmp_path, **options, on_update=lambda message: pytest.fail(message))
    assert finished.sentence() == result.sentence()
    with pytest.raises(ValueError, match="holds a run with labels=soft, not hard"):
        run(make_data(size=16), tmp_path, recipes=["dm"])
    with pytest.raises(FileNotFoundError, match=r"nowhere\.safetensors"):
        run(make_data(), tmp_path / "new", labels="soft", teachers="nowhere.safetensors")


def test_a_folder_with_a_run_of_other_images_is_refused(known_costs, make_data, tmp_path):
    run(make_data(), tmp_path, recipes=["dm"])
    for other in (make_data(per_class=14), make_data(real_per_class=4), make_data(seed=3)):
        with pytest.raises(
            ValueError, match=r"holds a run with images=24 train, 12 val, sha256 \w{12}, .* not .*; use"
        ):
            run(other, tmp_path, recipes=["dm"])
    path = tmp_path / "teachers"
    path.write_bytes(b"a")
    before = describe_teachers(str(path))
    path.write_bytes(b"b")
    assert describe_teachers(str(path)) != before
    assert describe_teachers("3") == describe_teachers(3) == 3


def test_a_metric_without_a_value_on_val_is_refused_before_work(make_data, tmp_path):
    data = make_data()
    data.setup()
    images, labels = data.splits["val"]
    data.splits["val"] = images[labels == 0], labels[labels == 0]
    with pytest.raises(ValueError, match=r"metric=auroc has no value on the 6 validation images of blobs"):
        run(data, tmp_path / "never", metric="auroc")
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize(("metric", "full", "expected"), [
    ("balanced_acc", 0.5, "reach 160 % of all data's balanced accuracy on val (80.0 %)"),
    ("balanced_acc", 0.0, "reach 80.0 % balanced accuracy on val"),
    ("nll", 0.4, "reach 0.80 NLL on val"),
])  # fmt: skip
def test_the_sentence_gives_a_share_where_there_is_one(metric, full, expected, known_costs, make_data, tmp_path):
    result = run(make_data(), tmp_path, recipes=["dm"])
    gain = replace(result.gain, score=0.8, metric=metric)
    assert expected in replace(result, gain=gain, full=full).sentence()


def test_a_candidate_whose_time_is_not_known_starts_anew(make_data, tmp_path):
    options = {"ipc": 1, "network": "convnet_w16", "seed": 0, "on_small_class": "repeat", "compile": "off"}
    candidate = CandidateRun(RECIPES["dm"], make_data(), tmp_path, options, {"accelerator": "cpu"})
    candidate.distil(3)
    assert candidate.distil(3)[1] == []
    candidate.restart()
    assert len(candidate.distil(3)[1]) == 3


def test_a_set_that_was_moved_away_is_scored_and_written_again(known_costs, make_data, tmp_path):
    first = run(make_data(), tmp_path, recipes=["dm"])
    content = read_set(first.path)
    first.path.unlink()
    again = run(make_data(), tmp_path, recipes=["dm"])
    assert torch.equal(read_set(again.path)[0].pixels, content[0].pixels)
    assert again.gain.score == first.gain.score


def test_one_student_has_no_spread_and_the_command_writes_each_metric_as_it_is(known_costs, tmp_path, capsys):
    for metric, shown in (("balanced_acc", " % on val after"), ("nll", " on val after")):
        main([
            "distill", "--data=DigitsDataModule", "--data.real_per_class=8", "--ipc=1", "--minutes=2", "--recipes=[dm]",
            "--network=convnet_w16", "--protocol=tiny", "--students=1", "--accelerator=cpu", f"--metric={metric}",
            f"--out={tmp_path / metric}",
        ])  # fmt: skip
        lines = [line for line in capsys.readouterr().out.splitlines() if shown in line]
        assert lines
        assert (" % on" in lines[0]) == (metric == "balanced_acc")
        json.loads((tmp_path / metric / "card.json").read_text(), parse_constant=pytest.fail)
