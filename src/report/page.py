"""Snapshots of revisions in, one HTML page out."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from src.report.charts import CURVES, Curve, curve, differences, style
from src.report.revisions import ABSENT, HISTORY, Snapshot, Stage
from src.report.tables import Judgement, judge, matrix, metrics, parameters, shown, signed, training
from src.runtime.paths import TRAIN_METRICS

# What a picture of `plots/` shows; the name of another stands for itself.
PICTURES = {
    "learning_curves": "Loss and accuracy of the training and validation split by epoch",
    "step_losses": "Training loss of every step",
    "confusion_matrix": "Confusion matrix of the test split with counts",
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
    templates.filters |= {"shown": shown, "signed": signed}
    judgements = [judge(snapshots[0], other) for other in snapshots[1:]]
    scripts = [_script(vega), _script((here / "page.js").read_text(encoding="utf-8"))]
    styles = [style(position) for position in range(len(snapshots))]
    return templates.get_template("page.html").render(
        snapshots=snapshots,
        names=[snapshot.name for snapshot in snapshots],
        styles=styles,
        judgements=judgements,
        parameters=parameters(snapshots),
        metrics=metrics(snapshots),
        curves=_curves(snapshots),
        specifications=_json(_charts(snapshots, judgements)),
        matrices=[matrix(snapshot) for snapshot in snapshots],
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


def _json(values: object) -> Markup:
    """JSON as the content of a <script>: the text of a name may not end the element."""
    text = json.dumps(values, ensure_ascii=True, allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


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
            "words": [_extreme(name, history, kind) for name, history in histories.items()],
            "names": list(histories),
            "lines": list(kind.columns),
            "rows": {
                epoch: [
                    kind.say(history.at[epoch, column]) if epoch in history.index else ""
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


def _extreme(name: str, history: pd.DataFrame, kind: Curve) -> str:
    """The best epoch of a chart's first line in words; the history is indexed by epoch."""
    line, column = next(iter(kind.columns.items()))
    values = history[column].dropna()
    measure = line if line == kind.title.lower() else f"{line} {kind.title.lower()}"
    if values.empty:
        return f"{name}: no {measure} that is a number"
    lowest = column == "val_loss"
    epoch = values.idxmin() if lowest else values.idxmax()
    return f"{name}: {'lowest' if lowest else 'highest'} {measure} {kind.say(values[epoch])}, epoch {epoch}"


def _charts(snapshots: list[Snapshot], judgements: list[Judgement]) -> dict[str, Any]:
    """The specifications, by the id of the element they are drawn in."""
    names = [snapshot.name for snapshot in snapshots]
    histories = _histories(snapshots)
    kept = {
        snapshot.name: snapshot.metrics[str(TRAIN_METRICS)].get("best_epoch")
        for snapshot in snapshots
        if str(TRAIN_METRICS) in snapshot.metrics
    }
    charts = {name: curve(kind, names, histories, kept) for name, kind in CURVES.items()} if histories else {}
    comparisons = {judged.name: judged.result for judged in judgements if judged.result}
    if comparisons:
        charts["differences"] = differences(names, names[0], comparisons)
    return charts


def _pictures(snapshots: list[Snapshot]) -> list[dict[str, Any]]:
    """Every picture of any revision, once where it is the same in several."""
    found = dict.fromkeys(path for snapshot in snapshots for path in snapshot.pictures)
    order = [f"plots/{name}.png" for name in PICTURES]
    pictures = []
    for path in sorted(found, key=lambda path: (order.index(path) if path in order else len(order), path)):
        copies: dict[bytes, list[int]] = {}
        for position, snapshot in enumerate(snapshots):
            if path in snapshot.pictures:
                copies.setdefault(snapshot.pictures[path], []).append(position)
        shown = []
        for content, positions in copies.items():
            width, height = struct.unpack(">II", content[16:24])
            shown.append(
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
            if path not in snapshot.pictures
        ]
        name = Path(path).stem
        pictures.append(
            {"path": path, "title": PICTURES.get(name, name), "copies": shown, "absent": absent},
        )
    return pictures


def _pipelines(snapshots: list[Snapshot]) -> list[dict[str, Any]]:
    """Every pipeline with the revisions that have it, and how to draw it."""
    groups: dict[tuple[Stage, ...], list[str]] = {}
    for snapshot in snapshots:
        if snapshot.stages:
            groups.setdefault(snapshot.stages, []).append(snapshot.name)
    return [
        {"names": ", ".join(names), "stages": [asdict(stage) for stage in stages], "drawing": draw(stages)}
        for stages, names in groups.items()
    ]


def draw(stages: tuple[Stage, ...], width: int = 150, height: int = 40, gap: int = 34) -> dict[str, Any]:
    """Where a pipeline's boxes and arrows go: boxes below each other, arrows past others on their right.

    Args:
        stages: in an order in which they can run.
        width, height, gap: of the boxes and between them, in units of the drawing.
    """
    places = {stage.name: number * (height + gap) + 1 for number, stage in enumerate(stages)}
    order = list(places)
    width = max([width, *(10 * len(name) + 24 for name in order)])
    boxes = [{"name": name, "y": y, "middle": y + height / 2} for name, y in places.items()]
    straight, bent, widest = [], [], 0
    for stage in stages:
        for before in stage.after:
            span = order.index(stage.name) - order.index(before)
            if span == 1:
                x = width / 2
                straight.append(f"M{x} {places[before] + height}V{places[stage.name] - 3}")
            else:
                widest = max(widest, span)
                out, back = places[before] + 0.7 * height, places[stage.name] + 0.3 * height
                reach = width + 40 * (span - 1)
                bent.append(f"M{width + 1} {out}C{reach} {out} {reach} {back} {width + 4} {back}")
    return {
        "width": width,
        "height": height,
        "boxes": boxes,
        "arrows": [*straight, *bent],
        "view": f"0 0 {width + 40 * max(0, widest - 1) + 6} {len(stages) * (height + gap) - gap + 2}",
    }
