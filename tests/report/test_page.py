"""Tests of ``lightning-distill report``: the command line, and the content of the page."""

from __future__ import annotations

import csv
import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from jinja2 import UndefinedError

from lightning_distill import DataSpec, DigitsDataModule
from lightning_distill.cli import main
from lightning_distill.commands.report import report
from lightning_distill.evaluation import LabeledSet
from lightning_distill.evaluation.metrics.predictions import Predictions
from lightning_distill.report.neighbours import nearest
from lightning_distill.report.page import environment
from lightning_distill.sets.card import make_card
from lightning_distill.sets.storage import save_set

RESULTS = ROOT / "benchmarks/results"
NASTY = ("</style><script>alert(1)</script>", "a & b < c", "'quoted\" $x$")


class Reader(HTMLParser):
    """Tags with their attributes, the text, and whether every tag is closed where it should be."""

    void = frozenset({"meta", "img", "source", "br", "link"})

    def __init__(self, page):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def read(path):
    page = Path(path).read_text()
    reader = Reader(page)
    for tag, attributes in reader.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "form", "base"), tag
        assert not any(name.startswith("on") for name in attributes), attributes
        for name in ("src", "srcset", "href", "data", "action"):
            assert re.match(r"data:image/(png|svg\+xml);base64,|#", attributes.get(name, "#")), (tag, name)
        assert tag != "img" or attributes["alt"]
    style = re.search(r"<style>(.*?)</style>", page, re.S)[1]
    assert "url(" not in style
    assert "@import" not in style
    assert "default-src 'none'" in page
    anchors = {attributes["id"] for _, attributes in reader.tags if "id" in attributes}
    assert {a["href"][1:] for tag, a in reader.tags if tag == "a"} <= anchors
    for word in ("private", "anonym", "privacy"):
        assert word not in reader.text.lower()
    return page, reader


def write_run(folder, spec, pixels, labels, **hyper_parameters):
    card = make_card("DMDistiller", {"ipc": 2, **hyper_parameters}, {}, "real", 10)
    save_set(folder, LabeledSet(pixels, labels, spec), card)
    return folder


@pytest.fixture
def digits_run(tmp_path, monkeypatch):
    """A run whose images are two real digits of each class, the first of them changed in one pixel."""
    monkeypatch.chdir(tmp_path)
    data = DigitsDataModule()
    images, labels = data.train_arrays()
    rows = np.concatenate([np.flatnonzero(labels == c)[:2] for c in range(10)])
    pixels = torch.from_numpy(images[rows].copy())
    pixels[0, 0, 0, 0] ^= 1
    write_run(Path("runs/digits/best"), data.spec, pixels, torch.from_numpy(labels[rows]))
    return data, pixels


def write_predictions(folder, spec, name="DMDistiller", students=3, images=40):
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(images) % spec.num_classes
    logits = torch.randn(students, images, spec.num_classes, generator=generator)
    predictions = Predictions(logits, targets, spec, list(range(students)), ["convnet_w16"] * students)
    predictions.write(Path(folder) / "predictions" / f"{name}.safetensors")


def test_committed_tables_become_one_file_with_every_row_and_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["report", str(RESULTS / "medical.csv"), str(RESULTS / "dm.csv"), "--out", "out/report.html"])
    page, reader = read("out/report.html")
    rows = []
    for name in ("medical", "dm"):
        with (RESULTS / f"{name}.csv").open() as file:
            rows += csv.DictReader(file)
    plain = reader.text.replace("\u2007", "")
    for row in rows:
        assert f"± {100 * float(row['acc_std']):.1f}" in plain
        assert row["command"] in reader.text
        assert row["source"] in reader.text
        assert row["machine"] in reader.text
    body = page.split("<tbody>")
    alike = {(row["source"], row["network"], row["ipc"]) for row in rows if row["trained_on"] == "random"}
    beside = [(row["source"], row["network"], row["ipc"]) in alike for row in rows if "Distiller" in row["trained_on"]]
    assert sum(part.count('<th scope="row">') for part in body) == len(rows) + sum(beside)
    first = rows[0]
    low, high = (float(first["acc"]) + sign * float(first["acc_ci95"]) for sign in (-1, 1))
    assert f"{100 * float(first['acc']):.1f} ± {100 * float(first['acc_std']):.1f}" in plain
    assert f"[{100 * low:.1f}, {100 * high:.1f}]" in plain
    assert str(tmp_path) not in page
    assert str(ROOT) not in page
    assert [path.name for path in Path("out").iterdir()] == ["report.html"]


def test_a_run_with_set_results_predictions_and_data(digits_run, capsys):
    data, pixels = digits_run
    spec = data.spec
    write_predictions("runs/digits", spec)
    with (RESULTS / "dm.csv").open() as file:
        Path("runs/digits/results.csv").write_text(file.read())
    main(["report", "runs/digits", "--out", "report.html", "--data", "DigitsDataModule", "--data.seed", "0"])
    _, reader = read("report.html")
    assert "Warning. The images began as copies of real training images" in reader.text
    train, val = (nearest(pixels, data.splits[split][0], spec) for split in ("train", "val"))
    closer = int((train.distances < val.distances).sum())
    assert f"{closer} of 20 images of the set are closer to train than to val" in reader.text
    assert "19 images of the set equal a training image in every pixel" in reader.text
    assert (
        "Copies of training images are expected to be closer to train than to val. These distances alone do not show"
        in reader.text
    )
    assert "Predictions of students trained on DM" in reader.text
    alts = [attributes["alt"] for tag, attributes in reader.tags if tag == "img"]
    for alt in ("Confusion matrix", "Reliability diagram", "Recall of each class", "accuracy against images per class"):
        assert any(alt in text for text in alts), alt
    assert sum(alt.startswith("Images of the set, each above") for alt in alts) == 10


def test_a_report_without_data_has_no_neighbours(digits_run):
    report(["runs/digits"], out="report.html")
    _, reader = read("report.html")
    assert "closer to train" not in reader.text
    assert "Warning." in reader.text


GAIN = {
    "measured": True, "beats_start": False, "mark": "no better than 2 picked images a class",
    "sentence": "No better than 2 picked images a class (val accuracy: <b>). Ways out: more steps.", "split": "val",
    "metric": "balanced_acc", "score": 0.701, "yardsticks": {"start": 0.702, "herding": 0.71}, "gain": -0.001,
    "standard_error": 0.0123, "best_pick": "herding", "gain_over_best_pick": -0.009,
    "standard_error_over_best_pick": None, "seeds": [3, 4, 5],
}  # fmt: skip
RESEMBLANCE = {
    "set": {"images": 4, "correlation": {"median": 0.951, "max": 0.999}, "ssim": {"median": 0.8, "max": None}},
    "held_out": {"images": 9, "correlation": {"median": 0.9, "max": 0.96}, "ssim": {"median": 0.7, "max": 0.9}},
}


@pytest.mark.parametrize("marked", [True, False])
def test_a_page_shows_the_mark_the_yardsticks_and_the_resemblance(marked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = DigitsDataModule().spec
    gain = GAIN if marked else {**GAIN, "mark": None, "beats_start": True}
    card = {**make_card("DMDistiller", {"ipc": 1}, {}, "real", 10), "gain": gain, "resemblance": RESEMBLANCE}
    pixels = torch.randint(0, 16, (10, 1, 8, 8), dtype=torch.uint8)
    save_set("run", LabeledSet(pixels, torch.arange(10), spec), card)
    main(["report", "run", "--out", "r.html"])
    _, reader = read("r.html")
    assert ("Mark. No better than 2 picked images a class (val accuracy: <b>)" in reader.text) == marked
    text = reader.text.replace("\u00a0", " ")
    assert "balanced accuracy on val set 70.1, start 70.2, herding 71.0 %; 3 students" in text
    assert "gain over the start -0.1 ± 1.2 points (standard error)" in text
    assert "gain over herding -0.9 ± undefined points" in text
    assert "set 0.95 (maximum 1.00), validation images 0.90 (maximum 0.96)" in text
    assert "set 0.80 (maximum undefined), validation images 0.70 (maximum 0.90)" in text


@pytest.mark.parametrize("gain", [None, 3, {}, {"measured": True}, {"measured": False, "reason": "no students"}])
def test_cards_without_a_gain_and_strange_ones_are_shown(gain, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    card = {**make_card("DMDistiller", {"ipc": 1}, {}, "real", 10), "resemblance": "high", "gain": gain}
    data = LabeledSet(torch.zeros(10, 1, 8, 8, dtype=torch.uint8), torch.arange(10), DigitsDataModule().spec)
    save_set("run", data, {key: value for key, value in card.items() if value is not None})
    main(["report", "run", "--out", "r.html"])
    _, reader = read("r.html")
    assert "Mark." not in reader.text
    assert ("not measured: no students" in reader.text) == (gain == {"measured": False, "reason": "no students"})


def test_names_are_text_and_paths_are_cut(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = DataSpec(NASTY[0], (1, 8, 8), NASTY, (0.0,), (1.0,), source="/home/jane/data/x.npz", license="<i>")
    pixels = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
    run = write_run(tmp_path / "run", spec, pixels, torch.arange(3), experts="/home/jane/experts", note="<script>")
    write_predictions(run, spec, name="<b>name")
    row = dict.fromkeys(("dataset", "source", "trained_on", "split", "network", "protocol", "seeds"), "<u>x")
    row |= {"ipc": "1", "images": "3", "students": "2", "acc": ".5", "acc_std": ".1", "machine": "<u>m"}
    row["command"] = "lightning-distill evaluate --set '/home/jane/my sets/a' --x '<u>'"
    with (run / "results.csv").open("w") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerow(row)
    main(["report", str(run), "--out", "report.html"])
    page, reader = read("report.html")
    assert not {"u", "i", "script"} & {tag for tag, _ in reader.tags}
    assert NASTY[0] in reader.text
    for part in ("jane", "/home", str(tmp_path)):
        assert part not in page
    assert "--set a --x '<u>'" in reader.text
    assert "experts experts" in reader.text


@pytest.mark.parametrize("make", ["results", "predictions"])
def test_a_folder_of_results_or_predictions_alone_will_do(tmp_path, monkeypatch, make, make_data):
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    if make == "results":
        Path("run/results.csv").write_text((RESULTS / "dm.csv").read_text())
    else:
        write_predictions("run", make_data().spec, students=1)
    report(["run"], out="report.html")
    _, reader = read("report.html")
    assert ("(one student)" in reader.text) == (make == "predictions")


def test_scores_of_one_student_have_no_interval_and_say_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    columns = "dataset,trained_on,ipc,images,split,students,acc,acc_std,acc_ci95_half_width"
    Path("r.csv").write_text(f"{columns}\ntoy,random,1,2,test,1,0.5,nan,nan\ntoy,DMDistiller,1,2,test,1,0.6,,\n")
    report(["r.csv"], out="report.html")
    _, reader = read("report.html")
    assert "50.0 (one student)" in reader.text
    assert "60.0 (no interval)" in reader.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "there is no nowhere; give run folders and result CSVs"),
        (["empty"], "empty holds nothing to report: no set.safetensors"),
        (["notes.txt"], "notes.txt is neither a run folder nor a CSV"),
        (["runs/digits/best/set.safetensors"], "set.safetensors is neither a run folder nor a CSV; give its folder"),
        (["speed.csv"], "speed.csv has no column dataset"),
        (["results.csv", "--data", "DigitsDataModule"], "no input holds a set"),
        (["broken"], "set.safetensors is not a readable set file"),
        (["mixed"], "x.safetensors is not a predictions file"),
        (["runs/digits", "small", "--data", "DigitsDataModule"], "has images (1, 4, 4), digits has (1, 8, 8)"),
        (["named", "--data", "DigitsDataModule"], "the set's classes are x0, x1"),
        (["runs/digits", "--exposed_pairs", "true"], "give the data that the set was made from by --data"),
        (["runs/digits", "--audit", "audit"], "add --exposed_pairs true to show them"),
        (["runs/digits", "--data", "DigitsDataModule", "--exposed_pairs", "true"], "a set with an audit in its card"),
        ([], "inputs"),
    ],
)
def test_bad_input_ends_with_what_is_wrong_and_leaves_the_old_report(digits_run, arguments, message, capsys):
    _, pixels = digits_run
    for name in ("empty", "broken", "mixed/predictions"):
        Path(name).mkdir(parents=True)
    Path("notes.txt").write_text("x")
    Path("broken/set.safetensors").write_bytes(b"x" * 100)
    Path("mixed/predictions/x.safetensors").write_bytes(b"x" * 100)
    for name in ("speed", "dm"):
        Path({"dm": "results.csv"}.get(name, f"{name}.csv")).write_text((RESULTS / f"{name}.csv").read_text())
    small = DataSpec("tiny", (1, 4, 4), tuple("0123456789"), (0.0,), (1.0,))
    write_run(Path("small"), small, torch.zeros(10, 1, 4, 4, dtype=torch.uint8), torch.arange(10))
    named = DataSpec("named", (1, 8, 8), tuple(f"x{i}" for i in range(10)), (0.0,), (1.0,))
    write_run(Path("named"), named, pixels, torch.arange(20) // 2)
    Path("report.html").write_text("old")
    with pytest.raises(SystemExit) as done:
        main(["report", *arguments])
    assert done.value.code == 2
    errors = " ".join(capsys.readouterr().err.split())
    assert message in errors
    assert "Traceback" not in errors
    assert Path("report.html").read_text() == "old"


def test_the_report_is_the_same_twice(digits_run):
    write_predictions("runs/digits", digits_run[0].spec)
    first, second = (report(["runs/digits"], out=name).read_bytes() for name in ("a.html", "b.html"))
    assert first == second


def test_help_and_overview_name_it(capsys):
    main([])
    assert "\n  report " in capsys.readouterr().out
    main(["report", "--help"])
    assert "--data" in capsys.readouterr().out


def test_every_column_of_a_row_has_its_place(tmp_path, monkeypatch):
    """Intervals over images, scores without a spread, students that diverged, and what follows from the means."""
    monkeypatch.chdir(tmp_path)
    row = {
        "dataset": "toy", "trained_on": "DMDistiller", "ipc": "5", "images": "10", "split": "test", "students": "5",
        "network": "convnet", "acc": ".8", "acc_std": ".02", "acc_ci95_half_width": ".03",
        "acc_ci95_low": ".71", "acc_ci95_high": ".88",
        "resampled": "groups", "worst_recall": ".4", "worst_class": "df <", "temperature": "1.25", "diverged": "1",
        "gap_full": ".1", "acc_gain_over_random": ".05", "recovery": ".9", "break_even": "inf", "lrs": "", "ars": "nan",
    }  # fmt: skip
    with Path("r.csv").open("w") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerows([row, {**row, "network": "lenet", "acc": ".7"}])
    report(["r.csv"], out="report.html")
    _, reader = read("report.html")
    for text in (
        "80.0 ± 2.0 [77.0, 83.0] (71.0 to 88.0)", "the one over groups of test images", "40.0 df <", "1.2",
        "1 diverged",
        "Means over students; the file gives no standard deviation.", "-10.0 points", "+5.0 points", "90.0 %",
        "never", "toy: students of other networks",
    ):  # fmt: skip
        assert text in reader.text, text
    assert "LRS" not in reader.text
    assert "70.0 ± 2.0" in reader.text.split("students of other networks")[1]


def test_templates_and_style_sheet_are_package_data():
    folder = files("lightning_distill.report")
    assert ":root" in folder.joinpath("report.css").read_text()
    for name in ("page", "macros", "results", "networks", "set", "predictions", "commands"):
        environment().get_template(f"{name}.html.j2")


def test_templates_escape_values_and_refuse_undefined_names():
    assert environment().from_string("{{ name }}").render(name="<b>&") == "&lt;b&gt;&amp;"
    with pytest.raises(UndefinedError):
        environment().from_string("{{ name }}").render()
