"""The notebooks run from the first cell to the last, in an empty folder, and are committed with their output."""

from __future__ import annotations

import nbformat
import pytest
from conftest import ROOT
from nbclient import NotebookClient

NOTEBOOKS = sorted((ROOT / "benchmarks" / "notebooks").glob("*.ipynb"))


def run(path, folder):
    """Execute a notebook in a folder, and return it with its output."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=250, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_a_picture(path, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    made = run(path, tmp_path)
    outputs = [output for cell in made.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output["output_type"] == "error"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_with_its_output_and_no_path_of_a_machine(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    text = path.read_text()
    assert not any(place in text for place in ("/home/", "/work/", "/root/", "/tmp/", "site-packages"))


def test_there_is_a_notebook():
    assert NOTEBOOKS
