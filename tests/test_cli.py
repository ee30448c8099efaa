"""The command line with the config files that users run, on small data, and its error messages."""

from __future__ import annotations

import csv
import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT, blobs

from lightning_distill import DigitsDataModule
from lightning_distill.cli import main
from lightning_distill.sets.storage import read_set

CONFIGS = sorted((ROOT / "benchmarks/configs").glob("*.yaml"))
METHODS = {
    "dc": "DCDistiller",
    "dm": "DMDistiller",
    "dsa": "DSADistiller",
    "krr": "KRRDistiller",
    "mtt": "MTTDistiller",
}
SHAPES = {
    "dermamnist": (7, 28, 3),
    "pneumoniamnist": (2, 28, 1),
    "breastmnist": (2, 28, 1),
    "breastmnist_64": (2, 64, 1),
    "breastmnist_128": (2, 128, 1),
}


@pytest.fixture
def medmnist_root(tmp_path, monkeypatch):
    """Small files with the true shapes, classes and dtypes, found through MEDMNIST_ROOT."""
    for name, (classes, side, channels) in SHAPES.items():
        arrays = {}
        for seed, split in enumerate(("train", "val", "test")):
            arrays[f"{split}_images"], arrays[f"{split}_labels"] = blobs(classes, 6, side, channels, seed)
        np.savez_compressed(tmp_path / f"{name}.npz", **arrays)
    for name in ("MNIST", "FashionMNIST"):
        (folder := tmp_path / name / "raw").mkdir(parents=True)
        for prefix in ("train", "t10k"):
            write_idx(folder, prefix, *blobs(10, 10, 28, 1))
        monkeypatch.setenv(f"{name.upper()}_ROOT", str(tmp_path))
    monkeypatch.setenv("MEDMNIST_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_idx(folder, prefix, images, labels):
    """Images and labels as MNIST has them."""
    for name, array in (("images-idx3", images), ("labels-idx1", labels.ravel())):
        header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
        (folder / f"{prefix}-{name}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes()))


def experts_for(config, folder):
    """What a trajectory method needs of its folder, made by the command that its config names."""
    if not config.stem.endswith("_mtt"):
        return []
    data = yaml.safe_load(config.read_text())["data"]
    init = {**data.get("init_args", {}), "real_per_class": 8}
    data = json.dumps({"class_path": data["class_path"], "init_args": init})
    main([
        "experts", f"--data={data}", f"--out={folder / 'experts'}", "--count=1", "--epochs=2", "--network=convnet_w16",
        "--accelerator=cpu",
    ])  # fmt: skip
    model = {"experts": str(folder / "experts"), "max_start": 1, "expert_epochs": 1, "syn_steps": 2}
    return [f"--model.init_args.{key}={value}" for key, value in model.items()]


def small(folder, ipc=1):
    callbacks = yaml.safe_load(CONFIGS[0].read_text())["trainer"]["callbacks"]
    for callback in callbacks:
        if "dirpath" in callback["init_args"]:
            callback["init_args"]["dirpath"] = str(folder / callback["class_path"].rsplit(".", 1)[1])
            if callback["class_path"].endswith("SyntheticSetExport"):
                callback["init_args"]["yardsticks"] = []
        else:
            callback["init_args"] = {"protocol": "tiny", "students": 2, "architectures": ["convnet_w16"]}
    return [
        f"--trainer.callbacks={json.dumps(callbacks)}", f"--model.init_args.ipc={ipc}", "--trainer.max_steps=2",
        "--model.init_args.network=convnet_w16", "--data.init_args.real_per_class=8", "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false",
        "--data.init_args.steps_per_epoch=2",
    ]  # fmt: skip


def test_there_is_a_config_for_every_data_set_and_method():
    sets = ["breastmnist", "dermamnist", "digits", "fashionmnist", "mnist", "pneumoniamnist"]
    of_every_set = [f"{name}_{method}" for name in sets for method in METHODS]
    assert [path.stem for path in CONFIGS] == sorted([*of_every_set, "breastmnist_64_dm", "breastmnist_128_dm"])


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_config_fits(config, medmnist_root):
    out = medmnist_root / "out"
    settings = yaml.safe_load(config.read_text())
    assert settings["model"]["class_path"].endswith(METHODS[config.stem.rsplit("_", 1)[1]])
    folders = [c["init_args"].get("dirpath", f"runs/{config.stem}") for c in settings["trainer"]["callbacks"]]
    assert {"/".join(folder.split("/")[:2]) for folder in folders} == {f"runs/{config.stem}"}
    main(["fit", "--config", str(config), *small(out), *experts_for(config, medmnist_root)])
    synthetic, card = read_set(out / "SyntheticSetExport" / "best")
    assert synthetic.spec.name == config.stem.rsplit("_", 1)[0]
    assert card["method"] == METHODS[config.stem.rsplit("_", 1)[1]]
    assert card["steps"] == 2
    assert str(medmnist_root) not in json.dumps(card)


THROUGH = [path for path in CONFIGS if path.stem in ("breastmnist_dm", "dermamnist_dsa", "mnist_dc", "digits_mtt")]


@pytest.mark.parametrize("config", THROUGH, ids=lambda path: path.stem)
def test_config_validates_and_tests_and_its_set_is_evaluated(config, medmnist_root, capsys):
    out, (name, method) = medmnist_root / "out", config.stem.rsplit("_", 1)
    options = ["--config", str(config), *small(out), *experts_for(config, medmnist_root)]
    main(["fit", *options])
    checkpoint = str(out / "DistillCheckpoint" / "last.ckpt")
    capsys.readouterr()
    main(["validate", *options, f"--ckpt_path={checkpoint}"])
    assert "val/acc" in capsys.readouterr().out
    main(["test", *options, f"--ckpt_path={checkpoint}"])
    assert "test/acc" in capsys.readouterr().out
    folder = out / "SyntheticSetExport" / "best"
    _, card = read_set(folder)
    assert card["hyper_parameters"]["ipc"] == 1
    assert (out / "SyntheticImageLogger" / "step-2.png").is_file()
    module = {"digits": "DigitsDataModule", "mnist": "MNISTDataModule"}.get(name, "MedMNISTDataModule")
    data = [module] if name == "digits" else [module, f"--data.name={name}"]
    main([
        "evaluate", f"--set={folder}", "--data", *data, "--protocol=tiny", "--students=2",
        "--architectures=[convnet_w16]", "--baselines=[random,full,kmeans]", f"--out={out / 'r.csv'}",
    ])  # fmt: skip
    shown = capsys.readouterr().out
    assert "all real data" in shown
    with (out / "r.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["trained_on"] for row in rows] == ["random", "full", "kmeans", METHODS[method]]
    assert [row["ipc"] for row in rows] == ["1", "all", "1", "1"]
    assert {row["split"] for row in rows} == {"test"}
    assert all("--architectures '[convnet_w16]'" in row["command"] for row in rows)
    assert str(medmnist_root) not in (out / "r.csv").read_text()


def test_quickstart_makes_what_it_promises(known_costs, tmp_path, capsys):
    main([
        "quickstart", f"--out={tmp_path}", "--ipc=1", "--minutes=2", "--students=2", "--protocol=tiny",
        "--network=convnet_w16",
    ])  # fmt: skip
    shown = capsys.readouterr().out
    for word in ("random subset", "all real data", "DM", "±", "10 images (", "minutes left"):
        assert word in shown
    promised = {"set.safetensors", "card.json", "grid.png", "report.html", "results.csv"}
    assert promised <= {path.name for path in tmp_path.iterdir()}
    synthetic, _ = read_set(tmp_path)
    assert len(synthetic.labels) == 10


def test_quickstart_takes_the_minutes_that_a_slow_machine_needs(known_costs, tmp_path, capsys, monkeypatch):
    from lightning_distill.commands import quickstart
    from lightning_distill.portfolio.budget import TooFewMinutesError

    distil, asked = quickstart.distill, []

    def slow(data, *, minutes, **options):
        asked.append(minutes)
        if len(asked) == 1:
            raise TooFewMinutesError("too short", 3.3)
        return distil(data, minutes=minutes, **options)

    monkeypatch.setattr(quickstart, "distill", slow)
    main(["quickstart", f"--out={tmp_path}", "--students=2", "--protocol=tiny", "--network=convnet_w16"])
    assert asked == [2, 5]
    assert "2 minutes are too short on this machine; 5 are taken" in capsys.readouterr().out


def test_distill_is_refused_with_the_minutes_it_needs(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["distill", "--data=DigitsDataModule", "--minutes=0.001", f"--out={tmp_path}", "--network=convnet_w16"])
    assert stop.value.code == 2
    assert "minutes=0.001 is too short for one candidate" in capsys.readouterr().err


def test_overview_lists_every_command(capsys):
    main([])
    shown = capsys.readouterr().out
    for command in (
        "quickstart",
        "distill",
        "audit-data",
        "fit",
        "validate",
        "test",
        "evaluate",
        "coreset",
        "concat",
        "mix",
        "indicator",
        "report",
        "inspect",
        "export",
    ):
        assert f"\n  {command} " in shown
    main(["--version"])
    assert capsys.readouterr().out.strip() == "0.1.0"


FIT = ["fit", "--model=DMDistiller", "--data=DigitsDataModule", "--trainer.max_steps=1", "--trainer.accelerator=cpu"]
EXPORT = [
    "--trainer.callbacks+=StudentEvaluation", "--trainer.callbacks.protocol=tiny", "--trainer.callbacks.students=2",
    "--trainer.callbacks.architectures=[mlp]", "--trainer.callbacks+=SyntheticSetExport",
    "--trainer.callbacks.dirpath=out", "--trainer.logger=false", "--trainer.enable_checkpointing=false",
    "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false", "--model.network=convnet_w16",
]  # fmt: skip
MEDMNIST = ["fit", "--model=DMDistiller", "--data=MedMNISTDataModule", "--trainer.max_steps=1"]


def test_a_set_without_gain_ends_with_status_3_only_where_a_gain_is_required(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = [*FIT, *EXPORT, "--model.lr=0", "--model.ipc=1"]
    main(words)
    with pytest.raises(SystemExit) as done:
        main([*words, "--require_gain=true"])
    assert done.value.code == 3
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lightning-distill: ")]
    assert line.startswith("lightning-distill: no better than 1 picked image a class (val accuracy: set ")
    _, card = read_set(tmp_path / "out/best")
    assert card["gain"]["mark"] == "no better than 1 picked image a class"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*FIT, "--no_export"], "--require_gain needs an exported set"),
        ([*FIT, *EXPORT, "--trainer.callbacks.yardsticks=[]"], "the gain cannot be measured: turned off by yardsticks"),
        (["test", *FIT[1:], "--ckpt_path=a.ckpt"], "--require_gain is an option of fit, not of test"),
    ],
)
def test_a_gain_that_cannot_be_required_is_refused(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as done:
        main([*words, "--require_gain=true"])
    assert done.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out/last").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*FIT, "--model.ipc=0"], "ipc=0"),
        ([*FIT, "--model.ipc=500"], "class '0' has"),
        ([*FIT, "--model.network=convnetz"], "closest names: convnet"),
        ([*MEDMNIST, "--data.name=pneumonia"], "closest: pneumoniamnist"),
        ([*MEDMNIST, "--data.name=breastmnist", "--data.size=32"], "size=32; MedMNIST has 28, 64, 128, 224"),
        ([*MEDMNIST, "--data.name=bloodmnist", "--data.download=false"], "bloodmnist.npz is not in"),
        (["evaluate", "--set=nowhere", "--data=DigitsDataModule"], "no set file"),
        (["quickstart", "--protocol=slow"], "unknown protocol 'slow'"),
        (["evaluate", "--data=DigitsDataModule"], "give either a set file (--set) or, for baselines alone,"),
        (["experts", "--data=DigitsDataModule", "--count=0"], "count=0; it must be at least 1"),
        (["experts", "--data=DigitsDataModule", "--network=convnetz"], "closest names: convnet"),
        (["fit", "--model=DCDistiller", "--model.distance=l1", "--data=DigitsDataModule"], "distance"),
        (["fit", "--model=DSADistiller", "--model.outer_loop=0", "--data=DigitsDataModule"], "outer_loop=0"),
        (["fit", "--model=MTTDistiller", "--data=DigitsDataModule", "--trainer.max_steps=1"], "no experts in experts"),
        (["fit", "--model=MTTDistiller", "--model.max_start=0", "--data=DigitsDataModule"], "max_start=0"),
        (["fitt"], "there is no command 'fitt'; see fit"),
        (["xyz"], "there is no command 'xyz'; see lightning-distill --help"),
        (["fit"], "fit needs --data and --model or --config FILE"),
        (["fit", "--config=nowhere.yaml"], "--config: File does not exist: "),
        (["fit", "--model=nowhere.Method"], "--model: there is no module 'nowhere'; `python -m lightning_distill fit`"),
        (["test", *FIT[1:]], "test needs --ckpt_path FILE"),
        (["validate", *FIT[1:]], "validate needs --ckpt_path FILE"),
        (["fit", "--model=DMM"], "--model: there is no class 'DMM'; use DMDistiller"),
        ([*FIT, "--model.ipcs=3"], "DMDistiller has no option --model.ipcs; `lightning-distill fit --model.help DMD"),
        ([*FIT, "--model.ipc=many"], "--model.ipc: expected int; expected list; given: many"),
        (["evaluate", "--data=Digits", "--ipc=1"], "--data: there is no class 'Digits'; use DigitsDataModule"),
        (["evaluate", "--data=MedMNISTDataModule"], "MedMNISTDataModule needs --data.name; see"),
        (["evaluate", "--split=dev"], "--split: expected one of ['val', 'test'], not dev"),
        (["compare", "a", "b"], "no predictions file 'a' in .; create it with evaluate --predictions FOLDER"),
        (["quickstart", "--minutes=0"], "minutes=0; the budget must be above 0"),
    ],
)
def test_bad_input_ends_with_what_is_wrong_and_the_way_out(arguments, message, medmnist_root, capsys):
    with pytest.raises(SystemExit) as done:
        main(arguments)
    assert done.value.code == 2
    errors = " ".join(capsys.readouterr().err.split())
    assert message in errors
    assert "Traceback" not in errors
    assert "usage:" not in errors
    assert "Union" not in errors


def test_a_stopped_command_ends_without_a_traceback(monkeypatch, capsys):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("lightning_distill.commands.concat.concat", stopped)
    with pytest.raises(SystemExit) as done:
        main(["concat"])
    assert done.value.code == 130
    assert capsys.readouterr().err == "lightning-distill: stopped\n"


def test_a_folder_that_cannot_be_is_one_line_too(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as done:
        main(["audit-data", "--data=DigitsDataModule", f"--out={tmp_path}/file/audit.csv"])
    assert done.value.code == 2
    assert "File exists; choose another folder" in capsys.readouterr().err


def test_a_set_that_does_not_fit_the_data_is_refused(medmnist_root, capsys, make_data):
    from lightning_distill.evaluation import LabeledSet
    from lightning_distill.sets.storage import save_set

    spec = make_data().spec
    save_set("other", LabeledSet(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1]), spec), {})
    for data, message in (
        (["DigitsDataModule"], "the set's classes are 0, 1; those of digits are 0, 1, 2"),
        (["MedMNISTDataModule", "--data.name=breastmnist"], "the set's images are (1, 8, 8) but breastmnist"),
    ):
        with pytest.raises(SystemExit):
            main(["evaluate", "--set=other", "--data", *data])
        assert message in " ".join(capsys.readouterr().err.split())
    with pytest.raises(SystemExit):
        main(["evaluate", "--set=other", "--data=DigitsDataModule", "--baselines=[best]"])
    assert "unknown baseline 'best'; use any of random" in " ".join(capsys.readouterr().err.split())


def test_baselines_are_scored_without_a_set(medmnist_root, capsys):
    rows = medmnist_root / "r.csv"
    main([
        "evaluate", "--data=MedMNISTDataModule", "--data.name=breastmnist", "--ipc=2", "--baselines=[random,herding]",
        "--protocol=tiny", "--students=2", "--architectures=[convnet_w16]", f"--out={rows}",
    ])  # fmt: skip
    with rows.open() as file:
        written = list(csv.DictReader(file))
    assert [(row["trained_on"], row["ipc"], row["images"]) for row in written] == [
        ("random", "2", "4"), ("herding", "2", "4"),
    ]  # fmt: skip
    assert "--data MedMNISTDataModule --data.name breastmnist" in written[0]["command"]
    assert "--ipc 2" in written[0]["command"]


def test_experts_are_made_once_and_a_cut_off_one_is_made_again(medmnist_root, capsys):
    arguments = [
        "experts", "--data=DigitsDataModule", "--data.real_per_class=8", "--out=e", "--count=2", "--epochs=2",
        "--network=convnet_w16", "--accelerator=cpu",
    ]  # fmt: skip
    main(arguments)
    assert "val accuracy" in capsys.readouterr().out
    files = sorted(Path("e").rglob("*"))
    assert [str(path) for path in files if path.suffix] == [
        f"e/00{number}/{name}" for number in (0, 1)
        for name in ("card.json", *(f"epoch-00{epoch}.safetensors" for epoch in range(3)))
    ]  # fmt: skip
    before = {path: path.read_bytes() for path in files if path.suffix == ".safetensors"}
    assert before[Path("e/000/epoch-000.safetensors")] != before[Path("e/001/epoch-000.safetensors")]
    Path("e/001/epoch-002.safetensors").unlink()
    touched = Path("e/000/epoch-002.safetensors").stat().st_mtime_ns
    main(arguments)
    assert {path: path.read_bytes() for path in before} == before
    assert Path("e/000/epoch-002.safetensors").stat().st_mtime_ns == touched
    with pytest.raises(SystemExit):
        main([*arguments, "--lr=0.1"])
    assert "holds an expert of other settings" in " ".join(capsys.readouterr().err.split())


def test_experts_never_begin_where_evaluated_students_do(medmnist_root):
    from safetensors.torch import load_file

    from lightning_distill.distillers.mtt.experts import epoch_path
    from lightning_distill.evaluation import LabeledSet, Protocol, StudentTrainer

    main([
        "experts", "--data=DigitsDataModule", "--data.real_per_class=8", "--out=e", "--count=3", "--epochs=1",
        "--network=convnet_w16", "--accelerator=cpu",
    ])  # fmt: skip
    spec = DigitsDataModule().spec
    data = LabeledSet(torch.zeros(2, *spec.shape, dtype=torch.uint8), torch.tensor([0, 1]), spec)
    begun = []
    trainer = StudentTrainer("convnet_w16", spec, protocol=Protocol("tiny", 1), images=2, students=1)
    for seed in range(3):
        watch = lambda epoch, p: epoch or begun.append(p["network.head.weight"].detach().clone())  # noqa: E731
        trainer.fit(data, seed, on_epoch_parameters=watch)
    experts = [load_file(epoch_path(f"e/00{number}", 0))["head.weight"] for number in range(3)]
    assert not any(torch.equal(a, b) for a in begun for b in experts)
    assert len(begun) == 3


def test_a_word_for_the_data_is_a_folder_an_npz_file_or_a_name(tmp_path, monkeypatch, capsys):
    from lightning_distill.commands._argv import data_words

    monkeypatch.chdir(tmp_path)
    (tmp_path / "scans").mkdir()
    (tmp_path / "x.npz").touch()
    assert data_words("scans") == ["--data=FolderDataModule", "--data.root=scans"]
    assert data_words("x.npz") == ["--data=NpzDataModule", "--data.path=x.npz"]
    for command in ("audit-data", "distill", "signals", "coreset"):
        with pytest.raises(SystemExit) as stop:
            main([command, "scanz"])
        assert stop.value.code == 2
        assert "'scanz' is no folder, npz file or MedMNIST name; give --data CLASS" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "known"),
    [
        (["concat", "a b", "c", "--out", "x"], ['--sets=["a b", "c"]', "--out=x"]),
        (["report", "one", "--out=x"], ['--inputs=["one"]', "--out=x"]),
        (["indicator", "--ipc", "1", "10", "--data.name=x-y"], ["--ipc=[1,10]", "--data.name=x-y"]),
        (["indicator", "--ipc", "1"], ["--ipc=1"]),
        (["indicator", "bloodmnist", "--ipc", "1"], ["--data=MedMNISTDataModule", "--data.name=bloodmnist", "--ipc=1"]),
        (["audit_set", "--set", "s", "--data", "bloodmnist"],
         ["--synthetic_set=s", "--data=MedMNISTDataModule", "--data.name=bloodmnist"]),
        (["evaluate", "--data=bloodmnist", "--test-data", "organmnist3d"],
         ["--data=MedMNISTDataModule", "--data.name=bloodmnist", "--test_data=MedMNIST3DDataModule",
          "--test_data.name=organmnist3d"]),
        (["experts", "organmnist3d"], ["--data=MedMNIST3DDataModule", "--data.name=organmnist3d"]),
        (["evaluate", "--test-data", "D", "--baselines", "random", "full"],
         ["--test_data=D", '--baselines=["random", "full"]']),
        (["evaluate", "--architectures", "mlp", "--baselines=random"],
         ['--architectures=["mlp"]', '--baselines=["random"]']),
        (["evaluate", "--set", "/a-b/c=d", "--seed", "-1", "--baselines=[a,b]"],
         ["--synthetic_set=/a-b/c=d", "--seed=-1", "--baselines=[a,b]"]),
        (["mix", "--real", "20", "--ratio", "0", "0.1"], ["--real=[20]", "--ratio=[0,0.1]"]),
        (["evaluate", "-h"], ["-h"]),
        (["bench", "--help"], ["--help"]),
    ],
)  # fmt: skip
def test_words_are_brought_into_the_form_the_parser_knows(typed, known):
    from importlib import import_module

    from lightning_distill.cli import POSITIONAL
    from lightning_distill.commands._argv import normalize_argv

    command = getattr(import_module(f"lightning_distill.commands.{typed[0]}"), typed[0])
    assert normalize_argv(typed[1:], command, POSITIONAL.get(typed[0])) == known
