from __future__ import annotations

import json
import re

import nbformat
from nbclient import NotebookClient

from tests import committed
from tests.conftest import ROOT, Clone


def texts(notebook: nbformat.NotebookNode) -> list[str]:
    """What each cell has printed, but for the line that depends on the number of epochs."""
    printed = [
        "".join(output.get("text", "") for output in cell.get("outputs", [])) for cell in notebook.cells
    ]
    return [re.sub("^difference: .*", "", text) for text in printed]


def test_the_tour_runs_and_shows_what_it_promises(clone: Clone) -> None:
    folder = clone.path / "notebooks"
    notebook = nbformat.read(folder / "tour.ipynb", as_version=4)
    committed_texts = texts(notebook)
    trained = next(
        place
        for place, cell in enumerate(notebook.cells)
        if "trained, result = train_on_splits" in cell.source
    )
    ask = nbformat.v4.new_code_cell("print(f'as in metrics/train.json: {result.best.val_loss:.6g}')")
    notebook.cells.insert(trained + 1, ask)
    NotebookClient(notebook, resources={"metadata": {"path": folder}}, timeout=200).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in shown) == 3
    printed = "".join(output.get("text", "") for output in shown)
    del notebook.cells[trained + 1]
    assert texts(notebook) == committed_texts, "execute it again, and commit it"
    assert "1197 training and 240 validation images" in printed
    assert "difference: " in printed
    assert (
        f"as in metrics/train.json: {json.loads(clone.read('metrics/train.json'))['val_loss']}\n" in printed
    )
    assert not [output for output in shown if output.output_type == "error" or output.get("name") == "stderr"]
    assert clone.git("status", "--short") == "", "nothing is written"


def test_the_committed_tour_is_an_executed_one() -> None:
    notebook = nbformat.reads(committed.text("notebooks/tour.ipynb"), as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert str(ROOT) not in nbformat.writes(notebook)
