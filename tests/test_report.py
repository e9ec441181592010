from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import math
import platform
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import markupsafe
import numpy as np
import pandas as pd
import pytest
import vl_convert
from dvc.repo import Repo
from PIL import Image

from benchmarks.browser import Browser
from src.compare.facts import Facts
from src.compare.groups import find_group, is_pattern
from src.compare.provenance import Provenance
from src.compare.revisions import Revision, parse_parameters, read_predictions, resolve
from src.compare.values import discordant_text, flat
from src.evaluation.paired import Comparison, compare
from src.report.__main__ import main
from src.report.charts import COLOURS, CURVES, SHAPES, curve, decades, differences, style
from src.report.judgements import Judgement, judge, judgement
from src.report.page import _curves, _graph, extreme, render
from src.report.snapshots import (
    COLUMNS,
    CONFUSION,
    EXPORT,
    HISTORY,
    PNG,
    Snapshot,
    Stage,
    load,
    load_group,
    range_of_histories,
    read_stages,
)
from src.report.tables import matrix, metrics
from src.runtime.errors import UserError
from src.runtime.paths import TEST_METRICS, TRAIN_METRICS
from tests.conftest import Clone, Command, output
from tests.experiments import Experiment, add_experiment, add_experiments
from tests.test_paired import comparison

# A branch, a class and a commit may have such names.
STRANGE = "a<b>&\"c'</script><script>window.ran=1</script><img/src='x'/onerror='window.ran=2'>"
REVISIONS = ("main", "lr-0.01", STRANGE, "bare", "workspace", "slow*")
CHARTS = ("differences", "loss", "accuracy", "learning-rate")


def state(clone: Clone) -> tuple[str, str, bytes]:
    """Of the working tree, the references and the index."""
    # The first refreshes the index.
    changed = clone.git("status", "--porcelain")
    return changed, clone.git("for-each-ref"), (clone.path / ".git/index").read_bytes()


@pytest.fixture(scope="module")
def revisions(experimented: tuple[Clone, str], tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone with an experiment, the same with names that could break a page and with another record of
    what trained it, a branch without results, a workspace in which one file is damaged, and a group."""
    clone = experimented[0].copy(tmp_path_factory.mktemp("revisions") / "clone")
    clone.git("worktree", "add", "--quiet", "-b", "bare", "../bare")
    bare = Clone(clone.path.parent / "bare")
    bare.git("rm", "--quiet", "-r", "plots", "metrics", "dvc.yaml")
    bare.git("commit", "--quiet", "--message=Before there were <results>")
    clone.git("worktree", "remove", "../bare")
    experiment = clone.git("for-each-ref", "--format=%(objectname)", "refs/exps/*/*/*").strip()
    clone.git("worktree", "add", "--quiet", "-b", STRANGE, "../strange", experiment)
    strange = Clone(clone.path.parent / "strange")
    environment = json.loads(strange.read("metrics/environment.json"))
    (strange.path / "metrics/environment.json").write_text(json.dumps(environment | {"torch": "<b>2.13</b>"}))
    md5 = hashlib.md5(strange.path.joinpath("src/params.py").read_bytes()).hexdigest()
    strange.replace("dvc.lock", md5, "f" * 32)
    confusion = strange.read("plots/confusion.csv")
    quoted = '"' + STRANGE.replace('"', '""') + '"'
    named = re.sub(r"(?<!\d)0,", lambda _: f"{quoted},", confusion)  # class 0, actual and predicted
    (strange.path / "plots/confusion.csv").write_text(named)
    strange.git("commit", "--quiet", "--all", f"--message={STRANGE}")
    clone.git("worktree", "remove", "../strange")
    rows = pd.read_csv(io.StringIO(clone.git("show", f"main:{HISTORY}"))).set_index("epoch")
    for seed in (0, 1):
        reached = {"val_accuracy": 0.25 + seed / 2}
        content = (rows / (seed + 1)).to_csv()
        add_experiment(clone, f"slow-{seed}", {"seed": seed}, reached, {HISTORY: content})
    clone.set_params(dataset="FashionMNIST")
    (clone.path / "metrics/test.json").write_text("no JSON")
    return clone


@pytest.fixture(scope="module")
def before(revisions: Clone) -> tuple[str, str, bytes]:
    return state(revisions)


@pytest.fixture(scope="module")
def reported(revisions: Clone, before: tuple[str, str, bytes]) -> Clone:
    """The same clone with a report on all of it."""
    wanted = f"REVS={' '.join(map(shlex.quote, REVISIONS))}"
    said = revisions.run("make", "--silent", "--assume-old=.venv/installed", "report", wanted)
    assert said.stdout.startswith(f"report.html: {', '.join(REVISIONS)}, ")
    return revisions


@pytest.fixture(scope="module")
def browser(browser: Browser, reported: Clone) -> Browser:
    """With the report."""
    browser.open(reported.path / "report.html")
    return browser


def marks(browser: Browser) -> dict[str, int]:
    """How many symbols each chart has."""
    return {
        name: browser.evaluate(f"document.querySelectorAll('#{name} .mark-symbol.role-mark path').length")
        for name in CHARTS
    }


def test_the_page_is_drawn_without_a_network_or_a_complaint(browser: Browser) -> None:
    assert browser.complaints() == []
    assert browser.requests()[0].startswith("file:")
    assert all(address.startswith("data:image/png;") for address in browser.requests()[1:])
    assert browser.evaluate("document.images.length") >= 9
    assert browser.evaluate("[...document.images].every((image) => image.naturalWidth && image.alt)")


def test_a_picture_is_enlarged_and_closed_again(browser: Browser) -> None:
    size = "document.querySelector('{}').getBoundingClientRect().width"
    browser.evaluate("document.querySelector('.enlarge').click()")
    assert browser.evaluate(size.format("dialog img")) > browser.evaluate(size.format(".enlarge img"))
    browser.press("Escape")
    browser.wait("document.querySelectorAll('dialog').length === 0")


def test_what_the_page_draws_is_no_picture_besides(browser: Browser) -> None:
    titles = browser.evaluate("[...document.images].map((image) => image.alt.split(':')[0])")
    assert "Most confident mistakes and correct predictions" in titles
    assert not [title for title in titles if "Confusion matrix" in title or "learning_curves" in title]


def test_every_chart_has_its_marks_and_a_text_in_their_place(browser: Browser) -> None:
    # Epoch 0 and two more of two lines, in all revisions but the bare one.
    assert marks(browser) == {"differences": 2, "loss": 30, "accuracy": 30, "learning-rate": 15}
    for name in CHARTS:
        assert browser.evaluate(f"document.getElementById('{name}').ariaLabel.length") > 20
    for name in CHARTS[1:]:
        figure = f"document.getElementById('{name}').closest('figure')"
        assert browser.evaluate(f"{figure}.querySelectorAll('tbody tr').length") == 3


def test_a_revision_is_hidden_and_shown_again_with_the_keyboard_alone(browser: Browser) -> None:
    before = marks(browser)
    browser.evaluate("document.body.tabIndex = -1, document.body.focus()")
    for _ in range(40):
        browser.press("Tab")
        if browser.evaluate("document.activeElement.value === 'lr-0.01'"):
            break
    browser.press(" ", text=" ")
    browser.wait("document.querySelectorAll('#loss .mark-symbol.role-mark path').length === 24")
    browser.wait("document.querySelectorAll('#differences .mark-symbol.role-mark path').length === 1")
    matrices = "[...document.querySelectorAll('figure[data-positions=\"1\"]')].map((figure) => figure.hidden)"
    assert set(browser.evaluate(matrices)) == {True}
    # What it shares with another revision stays.
    assert browser.evaluate("document.querySelector('figure[data-positions=\"1 2 4\"]').hidden") is False
    browser.press(" ", text=" ")
    browser.wait("document.querySelectorAll('#loss .mark-symbol.role-mark path').length === 30")
    assert marks(browser) == before


def test_pointing_at_a_chart_tells_the_values_of_the_nearest_mark(browser: Browser) -> None:
    browser.size(1400)
    browser.wait("document.querySelector('#differences svg').getBoundingClientRect().width > 900")
    browser.evaluate("document.getElementById('loss').scrollIntoView({block: 'center'})")
    left, top, width, height = browser.evaluate(
        "(({x, y, width, height}) => [x, y, width, height])"
        "(document.querySelector('#loss svg').getBoundingClientRect())"
    )
    for shift in (0, 2):
        browser.call(
            "Input.dispatchMouseEvent", type="mouseMoved", x=left + width / 2 + shift, y=top + height / 2
        )
    browser.wait("document.querySelector('#vg-tooltip-element.visible')")
    text = browser.evaluate("document.getElementById('vg-tooltip-element').innerText")
    for word in ("revision", "line", "epoch", "loss"):
        assert word in text
    assert "undefined" not in text


@pytest.mark.parametrize("width", [320, 360, 768, 1400])
def test_nothing_is_wider_than_the_window(browser: Browser, width: int) -> None:
    browser.size(width)
    ends = "[...document.querySelectorAll('svg.marks')].map((svg) => svg.getBoundingClientRect().right)"
    browser.wait(f"Math.max(document.documentElement.scrollWidth, ...{ends}) <= {width}")


def test_a_wide_table_has_a_shadow_where_more_of_it_is(browser: Browser) -> None:
    browser.size(360)
    browser.prefer("light")
    table = "document.querySelector('[aria-label=Metrics]')"

    def edge() -> float:
        """The mean brightness of the last four columns of pixels of what is visible of the table."""
        browser.picture(whole=False)  # which may still show the moment before
        browser.evaluate(f"{table}.scrollIntoView()")
        x, y, width, height, window = browser.evaluate(
            "(({x, y, width, height}) => [x, y, width, height, innerWidth])"
            f"({table}.getBoundingClientRect())"
        )
        image = Image.open(io.BytesIO(browser.picture(whole=False))).convert("L")
        scale = image.width / window  # as on a phone, the browser may have zoomed out
        right, bottom = scale * (x + width), min(image.height, scale * (y + height))
        return float(np.mean(image.crop((int(right) - 4, int(scale * y), int(right), int(bottom)))))

    assert browser.evaluate(f"{table}.scrollWidth - {table}.clientWidth") > 50
    with_more = edge()
    browser.evaluate(f"{table}.scrollTo(10000, 0)")
    assert edge() > with_more + 10


def test_on_a_phone_and_on_paper_the_metrics_can_be_read(browser: Browser) -> None:
    browser.size(360)
    table = "document.querySelector('[aria-label=Metrics]')"
    ends = f"[...{table}.querySelectorAll('.group th > *')].map((each) => each.getBoundingClientRect().right)"
    browser.evaluate(f"{table}.scrollTo(0, 0)")
    browser.wait(f"Math.max(...{ends}) <= {table}.getBoundingClientRect().right")
    browser.call("Emulation.setEmulatedMedia", media="print")
    change = f"{table}.querySelector('.change')"
    size = "parseFloat(getComputedStyle({}).fontSize)"
    assert browser.evaluate(f"{size.format(change)} < {size.format(f'{change}.parentNode')}")
    browser.call("Emulation.setEmulatedMedia", media="")


def test_of_long_class_names_and_on_paper_every_column_is_seen(
    browser: Browser, reported: Clone, tmp_path: Path
) -> None:
    names = ["a class with a name that is longer than a phone is wide", "n" * 60]
    table = pd.DataFrame([(a, b, 1) for a in names for b in names], columns=["actual", "predicted", "count"])
    page = tmp_path / "report.html"
    page.write_text(render([snapshot("a", tables={CONFUSION: table})], {}, ""))
    browser.open(page)
    browser.size(360)
    widest = "Math.max(...[...document.querySelectorAll('.matrix tbody th')].map((each) => each.offsetWidth))"
    assert 100 < browser.evaluate(widest) < 180
    overflow = "getComputedStyle(document.querySelector('.scroll')).overflowX"
    assert browser.evaluate(overflow) == "auto"
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert browser.evaluate(overflow) == "visible"
    browser.call("Emulation.setEmulatedMedia", media="")
    browser.open(reported.path / "report.html")


def test_the_charts_are_dark_where_the_user_prefers_it(browser: Browser) -> None:
    colour = "getComputedStyle(document.querySelector('#loss .role-axis-title text')).fill"
    page = "getComputedStyle(document.body).backgroundColor"
    browser.prefer("light")
    browser.wait(f"document.querySelector('#loss svg') && {colour} === 'rgb(88, 96, 105)'")
    assert browser.evaluate(page) == "rgb(251, 251, 250)"
    browser.prefer("dark")
    browser.wait(f"document.querySelector('#loss svg') && {colour} === 'rgb(161, 170, 179)'")
    assert browser.evaluate(page) == "rgb(18, 21, 24)"
    assert browser.complaints() == []


def test_a_name_is_text_wherever_it_stands(reported: Clone) -> None:
    page = reported.read("report.html")
    assert STRANGE not in page
    # markupsafe, and so jinja, writes quotes as numbers.
    assert page.count(str(markupsafe.escape(STRANGE))) > 10
    assert "Before there were &lt;results&gt;" in page


def test_a_name_is_text_for_the_browser(reported: Clone, browser: Browser, tmp_path: Path) -> None:
    # Without its security policy, too, no script of a name runs.
    unprotected = tmp_path / "report.html"
    unprotected.write_text(re.sub("<meta http-equiv[^>]*>", "", reported.read("report.html")))
    for path in (unprotected, reported.path / "report.html"):
        browser.open(path)
        assert browser.complaints() == []
        assert browser.evaluate("window.ran") is None
        assert browser.evaluate("document.querySelectorAll('b').length") == 0
        assert browser.evaluate("document.scripts.length") == 3
        assert browser.evaluate("[...document.images].every(({src}) => src.startsWith('data:'))")
        for place in ("h1", ".matrix th[scope=row]", ".matrix th[scope=col]", "label .name"):
            texts = f"[...document.querySelectorAll('{place}')].map((each) => each.textContent).join()"
            assert STRANGE in browser.evaluate(texts), place


def test_the_page_may_neither_load_nor_run_what_is_not_its_own(reported: Clone, browser: Browser) -> None:
    for attempt in (
        "document.body.insertAdjacentHTML('beforeend', '<i onclick=\"window.ran = 1\"></i>'),"
        "document.body.lastChild.click()",
        "document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = 1'}))",
        "fetch('https://example.org/').then(() => window.ran = 1, () => 0)",
        "new Promise((done) => Object.assign(new Image(), {onload: done, onerror: done,"
        " src: 'https://example.org/x.png'})).then(() => 0)",
    ):
        browser.open(reported.path / "report.html")
        browser.evaluate(f"({attempt})")
        assert browser.evaluate("window.ran") is None, attempt
        complaints = [event["entry"]["text"] for event in browser.complaints() if "entry" in event]
        assert any("Content Security Policy" in text for text in complaints), attempt
    browser.open(reported.path / "report.html")


def test_it_says_what_differs_and_whether_to_believe_it(
    reported: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = reported.read("report.html")
    differing = page[page.index("Parameters that differ</caption>") : page.index("The other parameters")]
    assert "<code>lr</code>" in differing
    assert "<strong>0.01</strong>" in differing
    assert "<strong>FashionMNIST</strong>" in differing
    assert "<code>optimizer</code>" not in differing
    monkeypatch.chdir(reported.path)
    with Repo() as repo:
        result = compare(*(read_predictions(resolve(repo, name)) for name in ("main", "lr-0.01")))
    numbers = discordant_text(result, "main", "lr-0.01")
    assert re.search(rf"\(paired\); {re.escape(numbers)}</p>", page)
    change = f"{100 * result.difference:+.2f}".replace("-", "\N{MINUS SIGN}")
    assert f"validation accuracy {change} percentage points" in page
    assert "different validation images: dataset is Digits in main, FashionMNIST in workspace" in page
    assert "the groups have seed 0 alone in common" in page.replace("Nothing", "nothing")


def test_a_group_has_a_curve_with_its_band_and_a_column(reported: Clone, browser: Browser) -> None:
    page = reported.read("report.html")
    assert "mean of 2 experiments: slow-0, slow-1" in page
    assert "<td>0.5\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}0.35" in page, "validation accuracy of 0.25 and 0.75"
    assert re.search(r"<code>seed</code></th>.*<strong>0, 1</strong></td></tr>", page)
    assert "Not of slow*: each experiment of a group has a matrix and pictures of its own." in page
    assert "slow*: not in this revision" not in page
    assert page.count('data-positions="5"') == 0
    bands = "document.querySelectorAll('#loss .mark-area path').length"
    assert browser.evaluate(bands) == 2, "training and validation"
    assert "its band reaches from the lowest to the highest" in page


def test_what_a_revision_lacks_is_said(reported: Clone) -> None:
    page = reported.read("report.html")
    assert "bare: plots/val_predictions.csv is missing" in page
    for path in ("plots/history.csv", "plots/confusion.csv", "dvc.yaml"):
        assert f"<code>{path}</code>: not in this revision" in page
    assert "bare: not in this revision" in page
    assert "cannot be read: Expecting value: line 1 column 1 (char 0)" in page


def test_it_says_what_trained_each_revision(reported: Clone) -> None:
    page = reported.read("report.html")
    section = page[page.index('<h2 id="environment">') :]
    trained = json.loads(reported.read("metrics/environment.json"))
    for key, value in trained.items():
        other = "<strong>&lt;b&gt;2.13&lt;/b&gt;</strong>" if key == "torch" else value
        cells = "".join(f"<td>{cell}</td>" for cell in (value, value, other, "not recorded", value, value))
        assert f'<th scope="row"><code>{key}</code></th>{cells}</tr>' in section
    assert re.findall('<p class="missing">(.*?)</p>', section) == [
        f"code of {markupsafe.escape(STRANGE)} that is not what trained it: src/params.py",
        *("bare: environment: not recorded", "bare: training code: not recorded"),
        "slow*: training code: not recorded",
    ]
    differing = re.findall('<span class="name">([^<]*)</span></span>\\s*</dt><dd>(.*?)</dd>', section)
    assert [(html.unescape(name), paths) for name, paths in differing] == [
        *(("lr-0.01", "none"), (STRANGE, "<code>src/params.py</code>")),
        *(("bare", "cannot be said"), ("workspace", "none"), ("slow*", "cannot be said")),
    ]
    assert page.count("Trained by different code and in different environments: the parameters alone") == 1
    assert "<code>metrics/environment.json</code>" not in page, "no metric"


def test_it_names_no_machine_and_no_user(reported: Clone) -> None:
    page = re.sub('base64,[^"]*|<script>.*?</script>', "", reported.read("report.html"), flags=re.DOTALL)
    for private in (str(reported.path.parent), str(Path.home()), platform.node(), "test@example.org"):
        assert not re.search(rf"\b{re.escape(private)}\b", page), private
    assert "with uncommitted changes" in page
    assert reported.git("rev-parse", "HEAD").strip() in page


def test_only_the_report_is_written_and_what_is_no_revision_is_refused(
    reported: Clone, before: tuple[str, str, bytes], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = reported.path / "report.html"
    content = report.read_bytes()
    refused = command(reported, "src.report", "main", "nowhere", check=False)
    assert output(refused) == (
        "error: 'nowhere' is invalid (unknown Git revision 'nowhere'); "
        "expected workspace, a commit, a branch, a tag or the name of an experiment\n"
    )
    assert refused.returncode == 1
    assert report.read_bytes() == content
    assert state(reported) == before
    monkeypatch.chdir(reported.path)
    with Repo() as repo:
        for name in ("", "main:params.yaml", "main^{tree}", "main..lr-0.01", "-h", "refs/exps", "a b"):
            with pytest.raises(UserError, match=r"is invalid .*; expected workspace, a commit"):
                resolve(repo, name)


@pytest.mark.parametrize("name", ["params.yaml", "", "report.html/"])
def test_a_report_is_not_written_over_what_is_no_page(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["report", "--out", name])
    with pytest.raises(UserError, match=f"--out: {name!r} is invalid; expected a name that ends in"):
        main()


EPOCHS = [(0, 2.0, 0.1), (1, 0.4, 0.9), (2, 0.3, 0.9), (3, 0.2, 0.8), (4, 0.3, 0.9)]


def test_lines_and_points_are_those_of_the_key() -> None:
    drawn = curve(CURVES["loss"], ["a", "b"], {"a": history(), "b": history()}, {})
    dashes = drawn["layer"][1]["encoding"]["strokeDash"]["scale"]
    assert dict(zip(dashes["domain"], dashes["range"], strict=True)) == {
        "validation": [1, 0],
        "training": [4, 4],
    }
    assert drawn["encoding"]["color"]["scale"]["range"] == [*COLOURS[:2]]
    assert drawn["layer"][2]["encoding"]["shape"]["scale"]["range"] == [*SHAPES[:2]]


def test_a_table_of_a_chart_has_its_numbers_below_the_names_of_its_lines() -> None:
    held = [snapshot(name, tables={HISTORY: history(first)}) for name, first in (("a", 2.0), ("b", 3.0))]
    loss, accuracy, _ = _curves(held)
    assert (loss["names"], loss["lines"]) == (["a", "b"], ["validation", "training"])
    assert loss["rows"] == {0: ["2", "2", "2", "3"], 1: ["0.4", "0.5", "0.4", "0.5"]}
    assert accuracy["rows"][1] == ["90.00%", "80.00%"] * 2


def test_colours_mistakes_and_pictures_are_under_their_names() -> None:
    counts = [("cat", "cat", 8), ("cat", "dog", 2), ("dog", "dog", 5)]
    content = PNG + b"\0\0\0\rIHDR" + b"\0\0\0\1" * 2
    page = render(
        [
            snapshot(
                "a",
                tables={CONFUSION: pd.DataFrame(counts, columns=list(COLUMNS[CONFUSION]))},
                pictures={
                    f"plots/samples_{split}.png": content + split.encode() for split in ("train", "val")
                },
            )
        ],
        {},
        "",
    )
    assert set(re.findall('<svg class="swatch".*fill="(.*)">\\s*<(\\w+)', page)) == {(COLOURS[0], SHAPES[0])}
    assert "Most frequent mistakes: cat classified as dog (2).</figcaption>" in page
    shown = re.findall('base64,([^"]+)".*alt="(.*): a"', page)
    assert {base64.b64decode(data)[len(content) :]: title for data, title in shown} == {
        b"train": "Sample images of the training split",
        b"val": "Sample images of the validation split",
    }


def history(first: float = 2.0) -> pd.DataFrame:
    rows = [(0, 0.1, first, 2.0, 0.1, 0.1), (1, 0.2, 0.5, 0.4, 0.8, 0.9)]
    return pd.DataFrame(rows, columns=list(COLUMNS[HISTORY]))


def snapshot(name: str, **held: object) -> Snapshot:
    nothing = Snapshot(Revision(name, None), "", "", {}, {}, {}, {}, (), Provenance(None, None), {})
    return replace(nothing, **held)


@pytest.mark.parametrize("kind", CURVES)
def test_a_chart_has_a_mark_for_every_value_that_is_a_number(kind: str) -> None:
    specification = curve(CURVES[kind], ["a", "b"], {"a": history(math.nan), "b": history()}, {"b": 1})
    drawn = vl_convert.vegalite_to_svg(specification | {"width": 300})
    marks = drawn[drawn.index("mark-symbol role-mark") :]
    expected = {"loss": 7, "accuracy": 8, "learning-rate": 4}[kind]
    assert marks.count('aria-roledescription="point"') == expected
    best = [row for row in specification["data"]["values"] if "note" in row]
    assert [(row["revision"], row["line"], row["epoch"]) for row in best] == (
        [] if kind == "learning-rate" else [("b", "validation", 1)]
    )


@pytest.mark.parametrize(("epochs", "seen"), [(60, 2 * 61), (61, 1)])
def test_of_many_epochs_the_best_alone_has_a_mark_that_is_seen(epochs: int, seen: int) -> None:
    rows = pd.concat([history().iloc[[1]].assign(epoch=epoch) for epoch in range(epochs + 1)])
    drawn = vl_convert.vegalite_to_svg(curve(CURVES["loss"], ["a"], {"a": rows}, {"a": 1}) | {"width": 300})
    marks = re.findall(r'<path [^>]*aria-roledescription="point"[^>]* d="(.*?)"', drawn)
    assert len(marks) == 2 * (epochs + 1), "each can be pointed at"
    assert sum(path != "M0,0" for path in marks) == seen


def test_a_loss_that_is_not_positive_has_a_linear_axis() -> None:
    for first, scale in ((2.0, "log"), (-2.0, None)):
        specification = curve(CURVES["loss"], ["a"], {"a": history(first)}, {})
        assert specification["encoding"]["y"]["scale"].get("type") == scale


def test_a_logarithmic_axis_is_labelled_within_its_ends() -> None:
    assert decades([0.003, 2.5]) == [0.01, 0.1, 1]
    assert decades([0.3, 2.5]) == [0.5, 1, 2]
    assert decades([0.1, 1.0]) == pytest.approx([0.1, 0.2, 0.5, 1])


@pytest.mark.parametrize(("loss", "scale"), [(3.0, "log"), (0.21, None)])
def test_an_axis_without_decades_is_linear(loss: float, scale: str | None) -> None:
    rows = history(loss).assign(train_loss=[loss, 0.45], val_loss=[loss, 0.4])
    drawn = curve(CURVES["loss"], ["a"], {"a": rows}, {})
    axis = drawn["encoding"]["y"] if "encoding" in drawn else drawn["layer"][0]["encoding"]["y"]
    assert axis["scale"].get("type") == scale


def test_as_many_revisions_look_different_as_there_are_pairs_of_colour_and_shape() -> None:
    assert len({style(position) for position in range(30)}) == len(COLOURS) * len(SHAPES) == 30


def test_a_band_reaches_from_the_lowest_to_the_highest() -> None:
    longer = pd.concat([history(3.0), history().assign(epoch=[2, 3])])
    table = range_of_histories([history(1.0), history(2.0), longer])
    assert list(table["epoch"]) == [0, 1], "what all of them reached"
    assert list(table.loc[0, ["train_loss", "train_loss_low", "train_loss_high"]]) == [2, 1, 3]
    specification = curve(CURVES["loss"], ["a*", "b"], {"a*": table, "b": history()}, {})
    drawn = vl_convert.vegalite_to_svg(specification | {"width": 300})
    assert drawn.count('aria-roledescription="area mark"') == 2
    (first,) = [
        row
        for row in specification["data"]["values"]
        if (row["revision"], row["line"], row["epoch"]) == ("a*", "training", 0)
    ]
    assert (first["loss"], first["low"], first["high"]) == (2, 1, 3)
    assert not any("low" in row for row in specification["data"]["values"] if row["revision"] == "b")
    band = specification["layer"][0]["encoding"]
    assert (band["y"]["field"], band["y2"]["field"]) == ("low", "high")


def test_between_equal_accuracies_the_lower_loss_is_the_best() -> None:
    rows = [(epoch, 0.1, 1.0, loss, 0.5, accuracy) for epoch, loss, accuracy in EPOCHS]
    table = pd.DataFrame(rows, columns=list(COLUMNS[HISTORY])).set_index("epoch")
    assert extreme("a", table, CURVES["accuracy"]).endswith("highest validation accuracy 90.00%, epoch 2")
    assert extreme("a", table, CURVES["loss"]).endswith("lowest validation loss 0.2, epoch 3")


def facts(result: Comparison | str, **changed: object) -> Facts[Comparison | str]:
    nothing = Provenance(None, None)
    return replace(Facts("a", "b", "validation", result, {}, (nothing, nothing)), **changed)


@pytest.mark.parametrize(
    ("only_a", "only_b", "difference", "interval", "p_value", "begins"),
    [
        (4, 13, 2.5, "+0.13 to +5.28", 0.039, "a significant"),
        (13, 4, -2.5, "−5.28 to −0.13", 0.039, "a significant"),
        (4, 12, 2.22, "−0.11 to +4.94", 0.061, "no significant"),
        (12, 4, -2.22, "−4.94 to +0.11", 0.061, "no significant"),
    ],
)
def test_the_verdict_and_its_numbers(
    only_a: int, only_b: int, difference: float, interval: str, p_value: float, begins: str
) -> None:
    judged = judgement(facts(comparison(only_a, only_b, 360)))
    assert judged.difference is not None
    assert 100 * judged.difference == pytest.approx(difference, abs=0.01)
    assert judged.details.endswith(
        f" of 360 validation images; 95 % interval {interval} (paired); "
        f"only a right: {only_a}, only b right: {only_b}; McNemar’s test: p = {p_value}"
    )
    assert judged.verdict.startswith(begins)


def test_what_is_the_same_is_said_to_be() -> None:
    identical = comparison(0, 0, 10)
    same = judgement(facts(identical, b="workspace", same=True))
    assert same.verdict == (
        "the workspace has the same parameters, training code and predictions as a: nothing differs"
    )
    assert judgement(facts(identical, same=True, one_commit=True)).verdict == "b is a: nothing differs"
    assert judgement(facts(identical)).verdict == (
        "no significant difference: both predict the same class for every image"
    )
    trained = (Provenance(None, {"src": "1"}), Provenance(None, {"src": "2"}))
    assert judgement(facts(identical, trained=trained)).caveat == "trained by different code"
    differing = judgement(facts(comparison(4, 13, 360), trained=trained)).caveat
    assert differing == "trained by different code: the parameters alone may not explain the difference"


@pytest.fixture
def judged(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Judgement]:
    """The judgement on two revisions or groups of a clone."""
    monkeypatch.chdir(clone.path)

    def found(repo: Repo, name: str) -> Snapshot:
        if is_pattern(name):
            return snapshot(name, group=find_group(repo, name))
        return snapshot(name, revision=resolve(repo, name))

    def judged(a: str, b: str) -> Judgement:
        with Repo() as repo:
            return judge(found(repo, a), found(repo, b))

    return judged


def test_groups_are_judged_by_their_seeds(clone: Clone, judged: Callable[[str, str], Judgement]) -> None:
    accuracies = {"fast": (0.95, 0.96, 0.97), "slow": (0.90, 0.92, 0.91)}
    experiments = [
        Experiment(f"{name}-{seed}", {"seed": seed}, {"val_accuracy": accuracy})
        for name, reached in accuracies.items()
        for seed, accuracy in enumerate(reached)
    ]
    add_experiments(clone, [*experiments, Experiment("empty", {}, files={"metrics/train.json": "{}"})])
    over_seeds = judged("fast*", "slow*")
    assert over_seeds.difference == pytest.approx(-0.05)
    assert over_seeds.verdict.startswith("a significant difference between the settings")
    assert over_seeds.details == (
        "96.00% ± 1.00 (n = 3) and 91.00% ± 1.00 (n = 3) of the validation images, mean ± sample standard "
        "deviation; 95 % interval −7.48 to −2.52 (paired by seed, n = 3); Student’s t test: p = 0.013"
    )
    assert over_seeds.p_value == pytest.approx(0.01307, abs=1e-5)
    alone = judged("fast-2", "slow*")
    assert alone.difference == pytest.approx(-0.06)
    assert (alone.interval, alone.p_value) == (None, None)
    assert "seed 2 alone" in alone.verdict
    assert alone.details.endswith("; the difference is paired by seed, n = 1")
    assert judged("empty", "slow*").verdict.startswith("empty: no val_accuracy and val_loss in metrics/train")


def test_nothing_is_said_of_noise_without_the_same_images(
    clone: Clone, judged: Callable[[str, str], Judgement]
) -> None:
    first = "\n".join(clone.read("plots/val_predictions.csv").splitlines()[:2])
    shells = {"dataset": "shells"}
    add_experiments(
        clone,
        [
            Experiment("short", {}, files={"plots/val_predictions.csv": first}),
            Experiment("other", {"dataset": "MNIST"}),
            Experiment("list", {}, files={"params.yaml": "[1, 2]"}),
            *(Experiment(f"few-{seed}", shells | {"test_fraction": 0.1, "seed": seed}) for seed in (0, 1)),
            *(Experiment(f"many-{seed}", shells | {"test_fraction": 0.2, "seed": seed}) for seed in (0, 1)),
        ],
    )
    (clone.path / "plots/val_predictions.csv").unlink()
    for a, b, reason in (
        ("main", "workspace", "workspace: plots/val_predictions.csv is missing; `dvc repro` writes it"),
        ("main", "short", "different images: 240 and 1"),
        ("main", "other", "different validation images: dataset is Digits in main, MNIST in other"),
        ("main", "list", "list: cannot read params.yaml (expected `key: value` lines, found list)"),
        ("few*", "many*", "different validation images: test_fraction is 0.1 in few*, 0.2 in many*"),
    ):
        assert judged(a, b) == Judgement(b, reason)


def test_a_worse_revision_is_drawn_on_the_left() -> None:
    judged = [Judgement("b", "", -0.05, (-0.07, -0.03), 0.01), Judgement("c", "not compared")]
    specification = differences(["a", "b", "c"], judged)
    (row,) = specification["data"]["values"]
    assert [row[key] for key in ("difference", "low", "high", "p")] == pytest.approx([-5, -7, -3, 0.01])
    _, interval, point = (layer["encoding"] for layer in specification["layer"])
    assert [interval["x"]["field"], interval["x2"]["field"], point["x"]["field"]] == [
        "low",
        "high",
        "difference",
    ]


def test_seeds_that_agree_have_no_deviation_and_no_difference(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = {"val_accuracy": 0.1}  # the mean of three is 0.10000000000000002
    add_experiments(clone, [Experiment(f"same-{seed}", {"seed": seed}, reached) for seed in (0, 1, 2)])
    monkeypatch.chdir(clone.path)
    with Repo() as repo:
        first = load(repo, resolve(repo, "same-0"))
        cells = metrics([first, load_group(repo, find_group(repo, "same-*"))])
    text = "0.1\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}0"
    assert cells[str(TRAIN_METRICS)]["val_accuracy"][1] == {"text": text, "change": ""}


def test_the_metrics_of_the_test_split_are_not_compared() -> None:
    held = {str(TRAIN_METRICS): {"val_accuracy": 0.5}, str(TEST_METRICS): {"accuracy": 0.5}}
    other = {str(TRAIN_METRICS): {"val_accuracy": 0.25}, str(TEST_METRICS): {"accuracy": 0.25}}
    cells = metrics([snapshot("a", metrics=held), snapshot("b", metrics=other)])
    assert cells[str(TRAIN_METRICS)]["val_accuracy"][1] == {"text": "0.25", "change": "−0.25"}
    assert cells[str(TEST_METRICS)]["accuracy"][1] == {"text": "0.25", "change": ""}


def test_rows_of_a_confusion_matrix_are_actual_classes() -> None:
    counts = [("cat", "cat", 8), ("cat", "dog", 2), ("dog", "cat", 0), ("dog", "dog", 5)]
    table = pd.DataFrame(counts, columns=list(COLUMNS[CONFUSION]))
    found = matrix(snapshot("a", tables={CONFUSION: table}))
    assert {name: [cell["count"] for cell in row] for name, row in found["rows"].items()} == {
        "cat": [8, 2],
        "dog": [0, 5],
    }
    assert found["rows"]["cat"][0]["shade"] == 80, "of the actual class"
    assert [cell["kind"] for cell in found["rows"]["cat"]] == ["right", "wrong"]
    assert found["worst"] == [{"actual": "cat", "predicted": "dog", "count": 2, "images": 10}]


def test_of_many_classes_the_report_lists_the_most_frequent_mistakes() -> None:
    names = ['a,"b"', "<i>$x$</i>", "pizza 🍕", *(f"c{code}" for code in range(97))]
    right = pd.DataFrame({"actual": names, "predicted": names, "count": 4})
    wrong = pd.DataFrame({"actual": names[:30], "predicted": names[1:31], "count": range(100, 130)})
    table = pd.concat([right, wrong])
    found = matrix(snapshot("a", tables={CONFUSION: table}))
    assert (found["rows"], found["right"], found["total"]) == ({}, 400, 400 + sum(range(100, 130)))
    assert [mistake["count"] for mistake in found["worst"]] == list(range(129, 109, -1))
    assert found["worst"][0] == {"actual": "c26", "predicted": "c27", "count": 129, "images": 133}

    rare = pd.concat([right, wrong.assign(count=range(30, 0, -1))])
    page = render([snapshot("a", tables={CONFUSION: rare})], {}, "")
    assert 'class="matrix' not in page
    assert "the most frequent mistakes between 100 classes" in page
    row = '<th scope="row">{}</th><td>{}</td><td>{} of {}</td>'
    assert row.format("a,&#34;b&#34;", "&lt;i&gt;$x$&lt;/i&gt;", 30, 34) in page
    assert row.format("&lt;i&gt;$x$&lt;/i&gt;", "pizza 🍕", 29, 33) in page


def test_rows_of_the_confusion_table_are_those_of_the_file(reported: Clone, browser: Browser) -> None:
    table = pd.read_csv(reported.path / CONFUSION, dtype={"actual": str, "predicted": str})
    counts = table.pivot(index="actual", columns="predicted", values="count").fillna(0).astype(int)
    assert not (counts == counts.T).all(axis=None), "a transposed table would be seen"
    shown = browser.evaluate(
        "[...document.querySelectorAll('.matrix')].slice(-1)[0].querySelectorAll('tbody tr').values().map("
        "(row) => [...row.cells].map((cell) => cell.textContent)).toArray()"
    )
    assert shown == [[actual, *(str(count or "") for count in counts.loc[actual])] for actual in counts.index]


def test_the_graph_has_every_stage() -> None:
    alone = Stage("lonely", "", "", (), (), ())
    chain = (replace(alone, name="first"), replace(alone, name="second", after=("first",)))
    drawn = _graph((*chain, alone))
    assert all(drawn.count(name) == 1 for name in ("first", "second", "lonely"))


@pytest.mark.filterwarnings("ignore:_NoneStep.value will soon:DeprecationWarning")  # DVC reads it
@pytest.mark.usefixtures("repository")
def test_stages_are_in_an_order_in_which_they_can_run() -> None:
    Path("dvc.yaml").write_text(
        "stages: {b: {cmd: b, deps: [a.txt], outs: [b.txt]}, c: {cmd: c, deps: [b.txt]}, "
        "a: {cmd: a, outs: [a.txt]}}"
    )
    with Repo.init() as repo:
        stages = read_stages(repo, Revision("workspace", None))
    assert [(stage.name, stage.after) for stage in stages] == [("a", ()), ("b", ("a",)), ("c", ("b",))]


def test_an_export_of_another_model_is_left_out(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clone.path)
    (model,) = re.findall(r"path: models/model.pt\n\s+hash: md5\n\s+md5: (\w+)", clone.read("dvc.lock"))[:1]
    workspace = Revision("workspace", None)
    with Repo() as repo:
        for md5, belongs in ((model, True), ("0" * 32, False), (None, False)):
            content = {"images": 1000, "onnx": {"same_class": 1.0}} | ({"model_md5": md5} if md5 else {})
            Path(EXPORT).write_text(json.dumps(content))
            found = load(repo, workspace)
            measured = {"images": 1000, "onnx.same_class": 1.0} if belongs else None
            assert found.metrics.get(EXPORT) == measured
            assert found.problems.get(EXPORT) == (None if belongs else "of another model")
        Path("metrics/train.json").write_text("{}")
        Path(EXPORT).write_text(json.dumps({"images": 1000, "model_md5": model}))
        assert EXPORT not in load(repo, workspace).metrics, "the lock is not of the run that wrote this"


def test_what_holds_no_parameters_is_refused() -> None:
    assert parse_parameters(b"lr: 1e-3\n7: x") == {"lr": 0.001, "7": "x"}
    for content in (b"", b"- lr", b"lr: [", b"\xff"):
        with pytest.raises(Exception, match=r"expected `key: value` lines|while parsing|decode byte"):
            parse_parameters(content)


def test_nested_metrics_are_named_by_their_path() -> None:
    assert flat({"loss": 1, "macro": {"f1": 2, "deep": {"x": 3}}}) == {
        "loss": 1,
        "macro.f1": 2,
        "macro.deep.x": 3,
    }
