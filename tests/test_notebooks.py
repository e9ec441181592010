from __future__ import annotations

import nbformat
from nbclient import NotebookClient

from tests.conftest import ROOT, Clone


def test_the_tour_runs_and_shows_what_it_promises(clone: Clone) -> None:
    folder = clone.path / "notebooks"
    notebook = nbformat.read(folder / "tour.ipynb", as_version=4)
    NotebookClient(notebook, resources={"metadata": {"path": folder}}, timeout=200).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in shown) == 3
    printed = "".join(output.get("text", "") for output in shown)
    assert "1197 training and 240 validation images" in printed
    assert "difference: " in printed
    assert not [output for output in shown if output.output_type == "error" or output.get("name") == "stderr"]
    assert clone.git("status", "--short") == "", "nothing is written"


def test_the_committed_tour_is_an_executed_one() -> None:
    notebook = nbformat.read(ROOT / "notebooks" / "tour.ipynb", as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert str(ROOT) not in nbformat.writes(notebook)
