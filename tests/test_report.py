from __future__ import annotations

import hashlib
import html
import json
import math
import platform
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import vl_convert
from dvc.repo import Repo

from src.compare.provenance import Provenance
from src.compare.revisions import PREDICTIONS, read_predictions
from src.evaluation.paired import compare
from src.report.__main__ import main
from src.report.charts import COLOURS, CURVES, SHAPES, curve, decades, style
from src.report.page import draw
from src.report.revisions import (
    ABSENT,
    COLUMNS,
    HISTORY,
    Revision,
    Snapshot,
    Stage,
    flat,
    parse_parameters,
    resolve,
)
from src.report.tables import judge
from src.runtime.errors import UserError
from tests.browser import Browser
from tests.conftest import Clone, output

STRANGE = "a<b>&c"
REVISIONS = ("main", "faster", STRANGE, "bare", "workspace")
CHARTS = ("differences", "loss", "accuracy", "learning-rate")


def state(clone: Clone) -> tuple[str, str, bytes]:
    """Of the working tree, the references and the index."""
    # The first refreshes the index.
    changed = clone.git("status", "--porcelain")
    return changed, clone.git("for-each-ref"), (clone.path / ".git/index").read_bytes()


@pytest.fixture(scope="module")
def revisions(reproduced: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone with an experiment, the same under a name that could break a page and with another record of
    what trained it, a branch without results, and a workspace in which one file is damaged."""
    clone = reproduced.copy(tmp_path_factory.mktemp("revisions") / "clone")
    clone.git("switch", "--quiet", "--create", "bare")
    clone.git("rm", "--quiet", "-r", "plots", "metrics", "dvc.yaml")
    clone.git("commit", "--quiet", "--message=Before there were <results>")
    clone.git("switch", "--quiet", "main")
    clone.dvc("exp", "run", "--name", "faster", "--set-param", "lr=0.02")
    experiment = clone.git("for-each-ref", "--format=%(objectname)", "refs/exps/*/*/*").strip()
    clone.git("worktree", "add", "--quiet", "-b", STRANGE, "../strange", experiment)
    strange = Clone(clone.path.parent / "strange")
    environment = json.loads(strange.read("metrics/environment.json"))
    (strange.path / "metrics/environment.json").write_text(json.dumps(environment | {"torch": "<b>2.13</b>"}))
    md5 = hashlib.md5(strange.path.joinpath("src/params.py").read_bytes()).hexdigest()
    strange.replace("dvc.lock", md5, "f" * 32)
    strange.git("commit", "--quiet", "--all", "--message=As if others had trained it")
    clone.git("worktree", "remove", "../strange")
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
def browser(reported: Clone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("profile"))
    browser.open(reported.path / "report.html")
    yield browser
    browser.close()


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


def test_every_chart_has_its_marks_and_a_text_in_their_place(browser: Browser) -> None:
    # Epoch 0 and two more of two lines, in all revisions but the bare one.
    assert marks(browser) == {"differences": 2, "loss": 24, "accuracy": 24, "learning-rate": 12}
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
        if browser.evaluate("document.activeElement.value === 'faster'"):
            break
    browser.press(" ", text=" ")
    browser.wait("document.querySelectorAll('#loss .mark-symbol.role-mark path').length === 18")
    browser.wait("document.querySelectorAll('#differences .mark-symbol.role-mark path').length === 1")
    matrices = "[...document.querySelectorAll('figure[data-positions=\"1\"]')].map((figure) => figure.hidden)"
    assert set(browser.evaluate(matrices)) == {True}
    # What it shares with another revision stays.
    assert browser.evaluate("document.querySelector('figure[data-positions=\"1 2 4\"]').hidden") is False
    browser.press(" ", text=" ")
    browser.wait("document.querySelectorAll('#loss .mark-symbol.role-mark path').length === 24")
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
    told = browser.evaluate("document.getElementById('vg-tooltip-element').innerText")
    for word in ("revision", "line", "epoch", "loss"):
        assert word in told
    assert "undefined" not in told


@pytest.mark.parametrize("width", [320, 360, 768, 1400])
def test_nothing_is_wider_than_the_window(browser: Browser, width: int) -> None:
    browser.size(width)
    ends = "[...document.querySelectorAll('svg.marks')].map((svg) => svg.getBoundingClientRect().right)"
    browser.wait(f"Math.max(document.documentElement.scrollWidth, ...{ends}) <= {width}")


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
    assert html.escape(STRANGE) in page
    assert "Before there were &lt;results&gt;" in page


def test_a_name_is_text_for_the_browser(browser: Browser) -> None:
    assert browser.evaluate("document.querySelectorAll('b').length") == 0
    assert STRANGE in browser.evaluate("document.querySelector('h1').textContent")


def test_it_says_what_differs_and_whether_to_believe_it(
    reported: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = reported.read("report.html")
    differing = page[page.index("Parameters that differ</caption>") : page.index("The other parameters")]
    assert "<code>lr</code>" in differing
    assert "<strong>0.02</strong>" in differing
    assert "<strong>FashionMNIST</strong>" in differing
    assert "<code>optimizer</code>" not in differing
    monkeypatch.chdir(reported.path)
    result = compare(read_predictions("main"), read_predictions("faster"))
    assert f"p = {result.p_value:.2g};" in page
    assert f'only <span class="name">main</span> right: {result.only_a}' in page
    change = f"{100 * result.difference:+.2f}".replace("-", "\N{MINUS SIGN}")
    assert f"test accuracy {change} percentage points" in page
    assert "different test sets: Digits and FashionMNIST" in page


def test_what_a_revision_lacks_is_said(reported: Clone) -> None:
    page = reported.read("report.html")
    assert "plots/predictions.csv of bare: not in this revision" in page
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
        cells = "".join(f"<td>{cell}</td>" for cell in (value, value, other, "not recorded", value))
        assert f'<th scope="row"><code>{key}</code></th>{cells}</tr>' in section
    assert re.findall('<p class="missing">(.*?)</p>', section) == [
        *("bare: environment: not recorded", "bare: training code: not recorded")
    ]
    differing = re.findall('<span class="name">([^<]*)</span></span>\\s*</dt><dd>(.*?)</dd>', section)
    assert [(html.unescape(name), paths) for name, paths in differing] == [
        *(("faster", "none"), (STRANGE, "<code>src/params.py</code>")),
        *(("bare", "cannot be said"), ("workspace", "none")),
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
    reported: Clone, before: tuple[str, str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    report = reported.path / "report.html"
    content = report.read_bytes()
    refused = reported.run("python", "-m", "src.report", "main", "nowhere", check=False)
    assert output(refused) == (
        "error: 'nowhere' is invalid (unknown Git revision 'nowhere'); "
        "expected workspace, a commit, a branch, a tag or the name of an experiment\n"
    )
    assert refused.returncode == 1
    assert report.read_bytes() == content
    assert state(reported) == before
    monkeypatch.chdir(reported.path)
    with Repo() as repo:
        for name in ("", "main:params.yaml", "main^{tree}", "main..faster", "-h", "refs/exps", "a b"):
            with pytest.raises(UserError, match=r"is invalid .*; expected workspace, a commit"):
                resolve(repo, name)


@pytest.mark.parametrize("name", ["params.yaml", "", "report.html/"])
def test_a_report_is_not_written_over_what_is_no_page(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["report", "--out", name])
    with pytest.raises(UserError, match=f"--out: {name!r} is invalid; expected a name that ends in"):
        main()


def history(first: float = 2.0) -> pd.DataFrame:
    rows = [(0, 0.1, first, 2.0, 0.1, 0.1), (1, 0.2, 0.5, 0.4, 0.8, 0.9)]
    return pd.DataFrame(rows, columns=list(COLUMNS[HISTORY]))


def snapshot(name: str, **held: object) -> Snapshot:
    nothing = Snapshot(
        Revision(name, None), "", "", {}, {}, {}, {}, (), Provenance(None, None), {PREDICTIONS: ABSENT}
    )
    return replace(nothing, **held)


@pytest.mark.parametrize("kind", CURVES)
def test_a_chart_has_a_mark_for_every_value_that_is_a_number(kind: str) -> None:
    specification = curve(CURVES[kind], ["a", "b"], {"a": history(math.nan), "b": history()}, {"b": 1})
    drawn = vl_convert.vegalite_to_svg(specification | {"width": 300})
    marks = drawn[drawn.index("mark-symbol role-mark") :]
    expected = {"loss": 7, "accuracy": 8, "learning-rate": 4}[kind]
    assert marks.count('aria-roledescription="point"') == expected
    kept = [row for row in specification["data"]["values"] if "weights" in row]
    assert [(row["revision"], row["line"], row["epoch"]) for row in kept] == (
        [] if kind == "learning-rate" else [("b", "validation", 1)]
    )


def test_a_loss_that_is_not_positive_has_a_linear_axis() -> None:
    for first, scale in ((2.0, "log"), (-2.0, None)):
        specification = curve(CURVES["loss"], ["a"], {"a": history(first)}, {})
        assert specification["encoding"]["y"]["scale"].get("type") == scale


def test_a_logarithmic_axis_is_labelled_within_its_ends() -> None:
    assert decades([0.003, 2.5]) == [0.01, 0.1, 1]
    assert decades([0.3, 2.5]) == [0.5, 1, 2]
    assert decades([0.1, 1.0]) == pytest.approx([0.1, 0.2, 0.5, 1])


def test_as_many_revisions_look_different_as_there_are_pairs_of_colour_and_shape() -> None:
    assert len({style(position) for position in range(30)}) == len(COLOURS) * len(SHAPES) == 30


def test_nothing_is_said_of_noise_without_the_same_test_images() -> None:
    table = pd.DataFrame({"index": [0, 1], "actual": ["a", "b"], "predicted": ["a", "a"]})
    whole = snapshot("whole", tables={PREDICTIONS: table})
    judged = judge(whole, snapshot("same", tables={PREDICTIONS: table}))
    assert (judged.result and judged.result.difference, judged.verdict[:13]) == (0, "no difference")
    for other, said in (
        (snapshot("old"), f"{PREDICTIONS} of old: not in this revision"),
        (snapshot("short", tables={PREDICTIONS: table[:1]}), "different test sets: 2 images in A, 1 in B"),
        (snapshot("other", tables={PREDICTIONS: table}, parameters={"dataset": "MNIST"}), "different test"),
    ):
        judged = judge(whole, other)
        assert judged.result is None
        assert judged.verdict.startswith(said)


def test_a_pipeline_is_drawn_from_top_to_bottom() -> None:
    def stage(name: str, *after: str) -> Stage:
        return Stage(name, "", "true", after, (), ())

    drawing = draw((stage("a"), stage("b", "a"), stage("c", "a", "b")))
    assert [box["name"] for box in drawing["boxes"]] == ["a", "b", "c"]
    assert [box["y"] for box in drawing["boxes"]] == sorted(box["y"] for box in drawing["boxes"])
    straight = [arrow for arrow in drawing["arrows"] if "V" in arrow]
    assert (len(drawing["arrows"]), len(straight)) == (3, 2)


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
