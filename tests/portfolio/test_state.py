"""The state of a portfolio comes back from disk, and a folder with another run is refused."""

from __future__ import annotations

import pytest

from lightning_distill.portfolio.state import STATE, PortfolioState, Snapshot


def test_the_state_comes_back(tmp_path):
    state = PortfolioState.open(tmp_path / "new", {"ipc": 1, "recipes": ("a",)})
    state.seconds, state.full = 1.5, 0.9
    state.costs["step/a"], state.targets["a/0"], state.plan = 0.25, 40, {"recipes": ["a"]}
    state.snapshots.append(Snapshot("a", 0, 40, 0.5, 0.1, 10.0))
    state.final = {"score": 0.5}
    state.save()
    again = PortfolioState.open(tmp_path / "new", {"ipc": 1, "recipes": ["a"]})
    assert vars(again) == vars(state)
    assert again.snapshot("a", 0) == state.snapshots[0]
    assert again.snapshot("a", 1) is None


def test_other_settings_are_refused_by_name(tmp_path):
    PortfolioState.open(tmp_path, {"ipc": 1, "seed": 0}).save()
    with pytest.raises(ValueError, match="holds a run with seed=0, not 1; use another --out"):
        PortfolioState.open(tmp_path, {"ipc": 1, "seed": 1})


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"settings": {"ipc": 1}, "seconds": "long"}'])
def test_a_spoilt_state_is_refused(tmp_path, content):
    (tmp_path / STATE).write_text(content)
    with pytest.raises(ValueError, match="cannot be read; remove it"):
        PortfolioState.open(tmp_path, {"ipc": 1})
