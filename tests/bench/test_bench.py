"""``lightning-distill bench`` as people type it, small; its advice."""

from __future__ import annotations

import csv

import pytest

import lightning_distill.commands.bench as command
from lightning_distill.bench import schedule
from lightning_distill.bench.advice import recommend_settings
from lightning_distill.bench.interleaved import InterleavedTimer
from lightning_distill.cli import main

SMALL = [
    "--network=convnet_w16", "--classes=2", "--channels=1", "--side=8", "--ipc=2", "--real_per_class=4", "--inner=1",
    "--syn_steps=2", "--accelerator=cpu",
]  # fmt: skip


@pytest.fixture(autouse=True)
def bf16_units(monkeypatch):
    """Whatever processor the tests run on."""
    for name in ("bench.schedule", "bench.advice"):
        monkeypatch.setattr(f"lightning_distill.{name}.bf16_is_native", lambda device: True)


@pytest.fixture
def no_compiler(monkeypatch):
    """Nothing is compiled: the tests stay short."""
    monkeypatch.setattr("lightning_distill.bench.schedule.compiler_available", lambda: False)
    monkeypatch.setattr("lightning_distill.bench.advice.compiler_available", lambda: False)


def test_bench_measures_every_path_and_says_which_knob_to_turn(tmp_path, capsys, no_compiler, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    main(["bench", *SMALL, "--seconds=60", f"--out={tmp_path / 'bench.csv'}"])
    shown = " ".join(capsys.readouterr().out.split())
    for words in ("reference", "ours, eager float32", "ours, eager bf16", "Recommended settings:", "no compiler found"):
        assert words in shown
    assert "2 classes of 1x8x8" in shown
    with (tmp_path / "bench.csv").open() as file:
        rows = list(csv.DictReader(file))
    variants = ("32/off", "bf16/off")
    works = [(path, variant) for variant in variants for path in ("dm", "student")]
    works += [(path, variant) for path in ("dsa", "mtt", "dc", "dm_pool") for variant in variants]
    assert [(row["work"], row["variant"]) for row in rows] == works
    assert all(float(row["ratio"]) > 0 and row["machine"] and row["date"] for row in rows)
    assert rows[0]["command"].startswith("lightning-distill bench --seconds 60 --network convnet_w16")
    assert str(tmp_path) not in (tmp_path / "bench.csv").read_text()


def test_what_no_longer_fits_is_left_out_and_named(capsys, monkeypatch):
    monkeypatch.setattr("lightning_distill.bench.schedule.compiler_available", lambda: True)
    main(["bench", *SMALL, "--paths=[dm]", "--seconds=5"])  # less than a compiler's warm-up is expected to take
    shown = " ".join(capsys.readouterr().out.split())
    assert "No time left for dm, compiled bf16, dm, compiled float32: give more --seconds, or fewer --paths." in shown


@pytest.mark.parametrize(("slower_bf16", "warm_up"), [(0.5, 10.0), (1.0, 25.0), (4.0, 25.0)])
def test_the_plan_ends_within_five_minutes_by_a_clock_that_is_set(slower_bf16, warm_up, monkeypatch):
    now, textbook = [0.0], {"dm": 3.0, "student": 0.3, "dsa": 8.0, "mtt": 6.5, "dc": 8.0, "dm_pool": 3.0}  # seconds

    def measure(path, size, variant, warmup, pairs, seconds, accelerator):
        def step(took):
            now[0] += took

        timer = InterleavedTimer(lambda: step(textbook[path]), warmup, pairs, seconds)
        own = textbook[path] * (slower_bf16 if variant.precision == "bf16-mixed" else 1.0)
        step(warm_up if variant.compile == "max" else 0.0)
        while step(own) or not timer():
            pass
        return timer

    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    monkeypatch.setattr(schedule, "measure_path", measure)
    monkeypatch.setattr(schedule, "compiler_available", lambda: True)
    results = command.bench(accelerator="cpu")
    assert now[0] < 290
    assert {("dm", "bf16/max"), ("student", "32/max"), ("dsa", "32/off"), ("mtt", "32/off")} <= set(results)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--paths=[dm,studnt]", "unknown path 'studnt'; use any of dm, student, dsa, mtt, dc"),
        ("--network=convnetz", "closest names: convnet"),
    ],
)
def test_bad_input_names_the_value_and_the_way_out(argument, message, capsys):
    with pytest.raises(SystemExit) as done:
        main(["bench", argument])
    assert done.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_emulated_bf16_is_left_out_and_said_so(capsys, monkeypatch, no_compiler):
    for name in ("bench.schedule", "bench.advice"):
        monkeypatch.setattr(f"lightning_distill.{name}.bf16_is_native", lambda device: False)
    results = command.bench(
        ["dm"],
        seconds=5.0,
        network="convnet_w16",
        classes=2,
        channels=1,
        side=8,
        ipc=2,
        real_per_class=4,
        accelerator="cpu",
    )
    assert set(results) == {("dm", "32/off")}
    assert "bf16 is emulated and was left out" in " ".join(capsys.readouterr().out.split())


def test_bench_is_in_the_overview_and_has_help(capsys):
    main([])
    assert "\n  bench " in capsys.readouterr().out
    main(["bench", "--help"])
    assert "--seconds" in capsys.readouterr().out


def timed(step, warm_up=0.0):
    """Turns that took so long."""
    timer = InterleavedTimer(pairs=1)
    timer.ours = [warm_up, step]
    return timer


@pytest.fixture
def plain_machine(monkeypatch):
    """Nothing to say of the machine itself."""
    monkeypatch.setattr("lightning_distill.bench.advice.machine_advice", lambda device: [])


def test_advice_says_what_is_faster_and_when_it_pays(plain_machine):
    results = {
        ("dm", "32/off"): timed(4.0, 4.0), ("dm", "32/max"): timed(2.0, 18.0), ("dm", "bf16/max"): timed(1.0, 19.0),
        ("student", "32/off"): timed(1.0, 1.0), ("student", "bf16/max"): timed(1.5, 20.0),
    }  # fmt: skip
    assert recommend_settings(results, "cpu") == [
        "use --trainer.precision bf16-mixed: 2.0x faster than float32 here (dm 2.0x)",
        "dm: --trainer.precision bf16-mixed --model.compile max: 4.0x faster than eager float32 here; compile=max pays "
        "after 5 steps (warm-up 19 s)",
        "student: no variant is faster than eager float32: evaluate --precision 32-true --compile off",
    ]


@pytest.mark.parametrize(("bf16", "words"), [(2.0, "bf16 is slower on this machine"), (1.0, "are equally fast")])
def test_advice_stays_with_float32_where_bf16_brings_nothing(bf16, words, plain_machine):
    lines = recommend_settings({("dm", "32/off"): timed(1.0), ("dm", "bf16/off"): timed(bf16)}, "cpu")
    assert words in lines[0]
    assert lines[0].endswith("stay with --trainer.precision 32-true")


def test_advice_on_the_machine(monkeypatch):
    for name, value in (("physical_cores", lambda: 8), ("compiler_available", lambda: False)):
        monkeypatch.setattr(f"lightning_distill.bench.advice.{name}", value)
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert recommend_settings({}, "cpu") == [
        "no compiler found, all code runs eagerly: install g++ and run bench again",
        "torch uses 2 threads on 8 physical cores: try OMP_NUM_THREADS=8",
    ]
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert recommend_settings({}, "cpu")[0] == "a CUDA device is unused: use --trainer.accelerator gpu"
