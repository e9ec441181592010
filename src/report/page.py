"""Snapshots of revisions in, one HTML page out."""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from src.compare.values import cell_text, signed
from src.evaluation.ranking import rank
from src.report.charts import CURVES, Curve, curve, differences, style
from src.report.judgements import Judgement, judge
from src.report.snapshots import ABSENT, HISTORY, Snapshot, Stage
from src.report.tables import matrix, metrics, parameters, training
from src.runtime.paths import TRAIN_METRICS

# Pictures of what the page itself draws.
DRAWN = {"plots/learning_curves.png", "plots/confusion_matrix.png"}
# What a picture of `plots/` shows; the name of another stands for itself.
PICTURES = {
    "step_losses": "Training loss of every step",
    "per_class_f1": "F1 of every class",
    "reliability_diagram": "Accuracy of the test images against the network's confidence",
    "predicted_examples": "Most confident mistakes and correct predictions",
    "feature_maps": "Feature maps of one test image",
    "samples_train": "Sample images of the training split",
    "samples_val": "Sample images of the validation split",
}


def render(snapshots: list[Snapshot], written_with: dict[str, str], vega: str) -> str:
    """The page.

    Args:
        snapshots: of different names; the first is what the others are compared with.
        written_with: the programs that wrote it, with their versions.
        vega: JavaScript that defines `vegaEmbed`.
    """
    here = Path(__file__).parent
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(here),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"cell_text": cell_text, "signed": signed}
    judgements = [judge(snapshots[0], other) for other in snapshots[1:]]
    scripts = [_script(vega), _script((here / "page.js").read_text(encoding="utf-8"))]
    styles = [style(position) for position in range(len(snapshots))]
    return templates.get_template("page.html").render(
        snapshots=snapshots,
        names=[snapshot.name for snapshot in snapshots],
        groups=[snapshot.name for snapshot in snapshots if snapshot.group],
        styles=styles,
        judgements=judgements,
        parameters=parameters(snapshots),
        metrics=metrics(snapshots),
        curves=_curves(snapshots),
        specifications=htmlsafe_json_dumps(_charts(snapshots, judgements), allow_nan=False),
        matrices=[
            matrix(snapshot) | {"position": position}
            for position, snapshot in enumerate(snapshots)
            if not snapshot.group
        ],
        pictures=_pictures(snapshots),
        pipelines=_pipelines(snapshots),
        training=training(snapshots),
        written_with=written_with,
        css=Markup((here / "page.css").read_text(encoding="utf-8")),
        scripts=scripts,
        hashes=[_hash(script) for script in scripts],
    )


def _script(text: str) -> Markup:
    """JavaScript as the content of a <script>: nothing in it may end the element."""
    return Markup(text.replace("</script", "<\\/script"))


def _hash(script: str) -> str:
    """What a content security policy knows a script by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _curves(snapshots: list[Snapshot]) -> list[dict[str, Any]]:
    """For each chart by epoch its title, what it comes to in words, and its numbers."""
    histories = {
        name: history.drop_duplicates("epoch").set_index("epoch")
        for name, history in _histories(snapshots).items()
    }
    epochs = sorted({epoch for history in histories.values() for epoch in history.index})
    return [
        {
            "id": identifier,
            "title": kind.title,
            "words": [extreme(name, history, kind) for name, history in histories.items()],
            "names": list(histories),
            "lines": list(kind.columns),
            "rows": {
                epoch: [
                    kind.text(history.at[epoch, column]) if epoch in history.index else ""
                    for history in histories.values()
                    for column in kind.columns.values()
                ]
                for epoch in epochs
            },
        }
        for identifier, kind in CURVES.items()
        if histories
    ]


def _histories(snapshots: list[Snapshot]) -> dict[str, pd.DataFrame]:
    return {snapshot.name: snapshot.tables[HISTORY] for snapshot in snapshots if HISTORY in snapshot.tables}


def extreme(name: str, history: pd.DataFrame, kind: Curve) -> str:
    """The best epoch of a chart's first line in words; the history is indexed by epoch."""
    line, column = next(iter(kind.columns.items()))
    values = history[column].dropna()
    measure = line if line == kind.title.lower() else f"{line} {kind.title.lower()}"
    if values.empty:
        return f"{name}: no {measure} that is a number"
    lowest = column == "val_loss"
    if column == "val_accuracy":  # the best epoch, as training chose it
        epoch = min(values.index, key=lambda each: rank(values[each], history.at[each, "val_loss"], ""))
    else:
        epoch = values.idxmin() if lowest else values.idxmax()
    return f"{name}: {'lowest' if lowest else 'highest'} {measure} {kind.text(values[epoch])}, epoch {epoch}"


def _charts(snapshots: list[Snapshot], judgements: list[Judgement]) -> dict[str, Any]:
    """The specifications, by the id of the element they are drawn in."""
    names = [snapshot.name for snapshot in snapshots]
    histories = _histories(snapshots)
    best_epochs = {
        snapshot.name: snapshot.metrics[str(TRAIN_METRICS)].get("best_epoch")
        for snapshot in snapshots
        if str(TRAIN_METRICS) in snapshot.metrics and not snapshot.group
    }
    charts = {name: curve(kind, names, histories, best_epochs) for name, kind in CURVES.items() if histories}
    if any(judged.interval for judged in judgements):
        charts["differences"] = differences(names, judgements)
    return charts


def _pictures(snapshots: list[Snapshot]) -> list[dict[str, Any]]:
    """Every picture of any revision, once where it is the same in several; without those that are drawn."""
    found = {path for snapshot in snapshots for path in snapshot.pictures} - DRAWN
    order = [f"plots/{name}.png" for name in PICTURES]
    pictures = []
    for path in sorted(found, key=lambda path: (order.index(path) if path in order else len(order), path)):
        copies: dict[bytes, list[int]] = {}
        for position, snapshot in enumerate(snapshots):
            if path in snapshot.pictures:
                copies.setdefault(snapshot.pictures[path], []).append(position)
        distinct = []
        for content, positions in copies.items():
            width, height = struct.unpack(">II", content[16:24])
            distinct.append(
                {
                    "positions": positions,
                    "names": ", ".join(snapshots[position].name for position in positions),
                    "data": base64.b64encode(content).decode(),
                    "width": width,
                    "height": height,
                }
            )
        absent = [
            f"{snapshot.name}: {snapshot.problems.get(path, ABSENT)}"
            for snapshot in snapshots
            if path not in snapshot.pictures and not snapshot.group
        ]
        name = Path(path).stem
        pictures.append(
            {"path": path, "title": PICTURES.get(name, name), "copies": distinct, "absent": absent},
        )
    return pictures


def _graph(stages: tuple[Stage, ...]) -> str:
    from dvc.dagascii import draw
    from dvc.repo.graph import get_pipelines
    from networkx import DiGraph

    graph = DiGraph((stage.name, before) for stage in stages for before in stage.after)
    graph.add_nodes_from(stage.name for stage in stages)
    # DVC draws one connected part, and would leave out the others.
    return "\n".join(draw(part.nodes, part.edges) for part in get_pipelines(graph))


def _pipelines(snapshots: list[Snapshot]) -> list[dict[str, Any]]:
    """Every pipeline with the revisions that have it, and its graph as `dvc dag` draws it."""
    groups: dict[tuple[Stage, ...], list[str]] = {}
    for snapshot in snapshots:
        if snapshot.stages:
            groups.setdefault(snapshot.stages, []).append(snapshot.name)
    return [
        {
            "names": ", ".join(names),
            "stages": [asdict(stage) for stage in stages],
            "graph": _graph(stages),
        }
        for stages, names in groups.items()
    ]
