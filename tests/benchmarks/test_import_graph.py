"""The import graph script: units, edges, and edges that close a circle."""

from __future__ import annotations

import runpy

import pytest
from conftest import ROOT


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(ROOT / "benchmarks" / "import_graph.py"))


def write(root, **files):
    for name, text in files.items():
        path = root / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text)
    return root


def test_lazy_imports_and_imports_for_types_are_edges(script, tmp_path):
    house = write(
        tmp_path / "house",
        a="import os\n",
        b="def f():\n    from house.a import x\n",
        c="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import house.room.d\n",
        room__d="from house.room import e\nfrom house import b\n",
        room__e="",
    )
    units, edges = script["graph"](house)
    assert units == {"__init__", "a", "b", "c", "room"}
    assert edges == {("b", "a"), ("c", "room"), ("room", "b")}
    assert script["back_edges"](units, edges) == set()
    assert script["graph"](house, "room") == ({"d", "e"}, {("d", "e")})


def test_circles_need_the_fewest_edges(script, tmp_path, capsys):
    edges = {("a", "b"), ("b", "a"), ("b", "c"), ("c", "a"), ("d", "a")}
    assert script["back_edges"]({"a", "b", "c", "d"}, edges) == {("a", "b")}
    many = {str(n) for n in range(12)}  # too many for every order to be tried
    assert len(script["back_edges"](many, {(str(n), str((n + 1) % 12)) for n in range(12)})) == 1
    house = write(tmp_path / "house", a="from house import b", b="from house.a import x", c="import house.b")
    script["main"]([str(house), "--edges"])
    out = capsys.readouterr().out
    assert "| house | 4 | 3 | 1 (a -> b) |" in out
    assert "c: b" in out


def test_the_package_has_no_edge_that_runs_back(script):
    package = ROOT / "lightning_distill"
    for folder in ["", *(path.parent.name for path in package.glob("*/__init__.py"))]:
        assert script["back_edges"](*script["graph"](package, folder)) == set(), folder or "lightning_distill"
