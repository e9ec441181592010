"""What is in a picture? `python -m src.predict IMAGE…`

Takes PNG, JPEG, BMP, GIF, WebP and TIFF of up to 89 million pixels, and folders of them; `-` is a picture on
standard input. Each is converted to the format of the dataset that the model was trained on (--plot shows
the result), and gets a line: the class, how sure the model is of it, and the second choice. What cannot be
read gets a line that says why, and the exit code is then 1.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from src.command_line import command_parser, parse_in_any_order
from src.own_images.pictures import SUFFIXES
from src.predict.classifiers import Classifier, is_onnx, open_classifier
from src.predict.predictions import BATCH, Prediction, as_csv, as_json, as_table, choices, predict
from src.runtime.errors import UserError, printable, run
from src.runtime.files import json_text
from src.runtime.paths import MODEL, PREPARED
from src.runtime.progress import with_progress

SPLITS = ("train", "val", "test")
# A grid of more than these is too small to look at.
MAX_PLOTTED = 48
# Kinds of files that are listed as skipped.
MAX_SUFFIXES = 8


def find_pictures(words: list[str]) -> list[tuple[str, Path | bytes]]:
    """The pictures that the words of a command line name, in order; those of a folder by their names.

    What else a folder holds gets a line on standard error.

    Raises:
        UserError: a word is empty, or a folder has none, or standard input cannot be read.
    """
    if words.count("-") > 1:
        raise UserError("- was given twice; expected it once: standard input is one picture")
    found: list[tuple[str, Path | bytes]] = []
    for word in words:
        if not word:
            raise UserError("'' is invalid; expected a picture, a folder of pictures, or -")
        path = Path(word)
        if word == "-":
            found.append(("-", _standard_input()))
        elif path.is_dir():
            files, unreadable = files_in(path)
            # To read a folder that cannot be read is an error that names the reason.
            inside = sorted([*unreadable, *(file for file in files if file.suffix.lower() in SUFFIXES)])
            if not inside:
                raise UserError(f"{shown(word)}: no pictures in it; expected {', '.join(SUFFIXES)}")
            others = Counter(file.suffix.lower() or "without a suffix" for file in {*files} - {*inside})
            if others:
                counts = [f"{count:,} {shown(suffix)}" for suffix, count in sorted(others.items())]
                some = ", ".join(counts[:MAX_SUFFIXES]) + (", …" if len(counts) > MAX_SUFFIXES else "")
                print(f"{shown(word)}: skipped {some}; read are {', '.join(SUFFIXES)}", file=sys.stderr)
            found += [(shown(file), file) for file in inside]
        else:
            # A pipe, such as `<(…)`, can be read once; a file may be read again, in colour.
            found.append((shown(word), path.read_bytes() if _is_pipe(path) else path))
    return found


def _standard_input() -> bytes:
    if sys.stdin is None:  # it was closed: `… <&-`
        raise UserError("-: standard input is closed; expected a picture")
    return sys.stdin.buffer.read()


def files_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """The files of a folder and of those inside it, but no hidden ones; and the folders that cannot be read.

    Links are followed, to each folder once: one may lead back.
    """
    visited, files, unreadable = set[str](), list[Path](), list[Path]()

    def note(error: OSError) -> None:
        unreadable.append(Path(error.filename))

    for parent, folders, names in os.walk(folder, onerror=note, followlinks=True):
        real = os.path.realpath(parent)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        # Hidden files may be called like pictures: macOS writes `._1.png` beside `1.png`.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(parent, name) for name in names if not name.startswith(".")):
            if _is_pipe(path):
                print(f"{shown(path)}: skipped, since it is not a file", file=sys.stderr)
            else:
                files.append(path)
    return files, unreadable


def _is_pipe(path: Path) -> bool:
    """Whether it exists, and is no file: reading it may wait for ever."""
    try:
        return path.exists() and not path.is_file()
    except PermissionError:  # of its folder; reading it says so
        return False


def refuse_to_replace(plot: Path, pictures: list[tuple[str, Path | bytes]]) -> None:
    """Raise a `UserError` where the figure would replace a file beside the pictures, perhaps one of them.

    `--plot homework/*.png` names the first of them as the figure.
    """
    paths = [source for _, source in pictures if isinstance(source, Path)]
    if plot.exists() and _folders(plot) & {folder for path in paths for folder in _folders(path)}:
        raise UserError(
            f"--plot: {shown(plot)} exists, beside the pictures; expected a new name, or that it is removed"
        )


def _folders(path: Path) -> set[Path]:
    """That of a picture and, where it is a link, of the file that it leads to: neither is to be replaced."""
    # `Path.resolve` fails where a link leads to itself.
    return {Path(os.path.realpath(path.parent)), Path(os.path.realpath(path)).parent}


def shown(path: Path | str) -> str:
    """A path as text that any output can hold: what is no printable UTF-8 is escaped."""
    return printable(os.fsencode(path).decode(errors="backslashreplace"))


def evaluate_split(name: str, classifier: Classifier, model: Path) -> None:
    """Print what `evaluate` would write of a split of the prepared data into `metrics/test.json`.

    Raises:
        UserError: the data is of another dataset than the model's, or of another state of it.
    """
    from src.data.splits import load_split_of
    from src.evaluation.metrics import evaluate

    split = load_split_of(classifier, PREPARED / f"{name}.npz", model=model)
    logits = classifier.logits(split.images)
    print(json_text(evaluate(logits, split.labels, split.class_names).metrics), end="")


def arguments() -> argparse.Namespace:
    parser = command_parser("src.predict", __doc__)
    parser.add_argument("pictures", nargs="*", metavar="IMAGE", help="a picture, a folder of them, or -")
    parser.add_argument("--model", type=Path, default=MODEL, help=".pt or .onnx (%(default)s)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="JSON in place of the table")
    form.add_argument("--csv", action="store_true", help="CSV in place of the table")
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="PNG",
        help=f"draw the first {MAX_PLOTTED} pictures beside what the model saw",
    )
    parser.add_argument("--split", choices=SPLITS, help="evaluate a split of the prepared data instead")
    parser.add_argument(
        "--untrained",
        action="store_true",
        help="use the initial weights instead of the trained ones, and show the probabilities of all classes",
    )
    options = parse_in_any_order(parser)
    if bool(options.pictures) == bool(options.split):
        parser.error("either pictures or --split is needed")
    if options.split and (options.json or options.csv or options.plot):
        parser.error("--split has neither --json, --csv nor --plot: it prints JSON")
    if options.plot and options.plot.suffix.lower() != ".png":
        parser.error(f"--plot: {shown(options.plot)} is invalid; expected a name that ends in .png")
    if options.untrained and is_onnx(options.model):
        parser.error("--untrained needs a .pt model: an exported one has its trained weights alone")
    return options


def main() -> None:
    options = arguments()
    classifier = open_classifier(options.model, untrained=options.untrained)
    if options.split:
        evaluate_split(options.split, classifier, options.model)
        return
    pictures = find_pictures(options.pictures)
    if options.plot:
        refuse_to_replace(options.plot, pictures)
    names = [name for name, _ in pictures]
    predictions = predict(pictures, classifier)
    if len(pictures) > BATCH:
        predictions = with_progress(predictions, len(pictures), "pictures")
    failed, kept = 0, list[Prediction]()

    def noted() -> Iterator[Prediction]:
        nonlocal failed
        for prediction in predictions:
            failed += bool(prediction.problem)
            if options.plot and len(kept) < MAX_PLOTTED:
                kept.append(prediction)
            yield prediction

    if options.json:
        lines = as_json(noted(), classifier.class_names)
    elif options.csv:
        lines = as_csv(noted(), classifier.class_names)
    else:
        lines = as_table(noted(), classifier.class_names, names, everything=options.untrained)
    for line in lines:
        print(line, flush=True)
    if options.plot:
        draw(kept, classifier.class_names, options.plot)
        if len(pictures) > MAX_PLOTTED:
            print(f"{options.plot}: the first {MAX_PLOTTED} of {len(pictures):,} pictures", file=sys.stderr)
    if failed:
        sys.exit(1)


def draw(predictions: list[Prediction], class_names: list[str], path: Path) -> None:
    """Write a figure of pictures, what the model saw of them, and its answers, or why there are none."""
    from src.figures.images import predicted_pictures
    from src.figures.style import label, save

    pairs = [
        (prediction.pixels, prediction.prepared.image if prediction.prepared else None)
        for prediction in predictions
    ]
    titles = []
    for prediction in predictions:
        best = None if prediction.problem else choices(prediction, class_names)
        title = (
            f"{label(best['class'])} ({best['confidence']:.1%})"
            if best
            else label(prediction.problem, longest=44)
        )
        titles.append(title)
    save(predicted_pictures(pairs, titles), path, dpi=150)


if __name__ == "__main__":
    run(main)
