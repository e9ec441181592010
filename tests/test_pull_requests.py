"""The workflow that compares base and head of a pull request: its steps run as they stand in the file."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from src.compare.values import cell_text
from tests.conftest import ROOT, Clone
from tests.rendered import rendered
from tests.workflows import CodeHost, Machine

WORKFLOW = "compare.yml"
OURS, BOT = "group/lenet5", "github-actions[bot]"
MARKER = "<!-- comparison of base and head -->"
NEEDS_GH = pytest.mark.skipif(shutil.which("gh") is None, reason="gh is not on the PATH")


def pull_request(base: str, head: str, repository: str = OURS) -> dict[str, Any]:
    """What the code host knows of a run for a pull request from a repository."""
    described = {
        "number": 7,
        "base": {"sha": base, "repo": {"full_name": OURS}},
        "head": {"sha": head, "repo": {"full_name": repository}},
    }
    event = {"pull_request": described}
    return {"event_name": "pull_request", "event": event, "repository": OURS, "sha": "0", "token": "secret"}


def push(before: str, sha: str) -> dict[str, Any]:
    """The same for a push to main."""
    event = {"before": before, "after": sha}
    return {"event_name": "push", "event": event, "repository": OURS, "sha": sha, "token": "secret"}


def test_the_workflow_gives_no_more_rights_than_it_needs() -> None:
    text = (ROOT / ".github/workflows" / WORKFLOW).read_text()
    workflow = yaml.safe_load(text)
    assert set(workflow[True]) == {"pull_request", "push"}  # `on`, as YAML 1.1 reads it
    assert workflow["permissions"] == {"contents": "read"}
    jobs = workflow["jobs"]
    assert "permissions" not in jobs["compare"]
    assert jobs["comment"]["permissions"] == {"pull-requests": "write"}
    assert "secrets" not in text
    uses = [step["uses"] for job in jobs.values() for step in job["steps"] if "uses" in step]
    assert all(re.fullmatch(r"actions/[\w/-]+@[0-9a-f]{40}", each) for each in uses)
    assert not any("checkout" in step.get("uses", "") for step in jobs["comment"]["steps"])
    others = (ROOT / ".github/workflows/test.yml").read_text()
    for action in ("checkout", "setup-python"):
        (pinned,) = {each for each in uses if each.startswith(f"actions/{action}@")}
        assert pinned in others, "one version of an action"


def test_all_that_the_pipeline_writes_and_depends_on_is_in_the_cache_and_its_key() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows" / WORKFLOW).read_text())["jobs"]
    cached = jobs["compare"]["env"]["OUTPUTS"].split()
    keys = {
        step["with"]["key"]
        for step in jobs["compare"]["steps"]
        if step.get("uses", "").startswith("actions/cache/restore@")
    }
    (key,) = keys
    patterns = [pattern.removesuffix("/**") for pattern in re.findall(r"'([^']+)'", key)]
    assert all((ROOT / pattern).exists() for pattern in patterns)
    outputs, dependencies = {"dvc.lock"}, {"params.yaml", "dvc.yaml"}
    for stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].values():
        written = [*stage["outs"], *stage.get("metrics", [])]
        outputs |= {path for each in written for path in ([each] if isinstance(each, str) else each)}
        dependencies |= {*stage["deps"]}
    assert all(path.startswith(tuple(cached)) for path in outputs)
    assert all(path.startswith(tuple(patterns)) for path in dependencies - outputs)


@pytest.mark.slow
def test_base_and_head_are_run_and_compared(clone: Clone, tmp_path: Path) -> None:
    clone.git("checkout", "--quiet", "-b", "faster")
    clone.set_params(lr=0.02)
    clone.git("commit", "--quiet", "--all", "--message=A higher learning rate")
    fork, head = clone.git("rev-parse", "main", "faster").split()
    clone.git("checkout", "--quiet", "main")
    clone.set_params(lr=0.5)
    clone.git("commit", "--quiet", "--all", "--message=What the head knows nothing of")
    (tmp_path / "host").mkdir()
    host = CodeHost(clone.path, tmp_path / "host")

    event = pull_request(clone.git("rev-parse", "main").strip(), head)
    machine = host.start(WORKFLOW, "compare", event)
    assert machine is not None
    for stage in ("prepare", "train"):  # the head finds nothing of the base
        assert machine.log.count(f"Running stage '{stage}'") == 2
    check_summary(machine, fork, head)
    report = (host.artifacts["report"] / "report.html").read_text()
    assert report.count("<h1") == 1
    assert "lr" in report
    assert (host.artifacts["comparison"] / "comparison.md").read_text() == machine.summary

    # From a fork, and with what is in the cache: nothing is trained, and the text is the same.
    event = pull_request(clone.git("rev-parse", "main").strip(), head, "someone/lenet5")
    again = host.start(WORKFLOW, "compare", event)
    assert again is not None
    assert "Running stage" not in again.log
    assert again.summary == machine.summary
    assert host.start(WORKFLOW, "comment", event) is None
    assert len(host.cached) == 2

    # The first push to main, of what the pull request has run, and one that was forced.
    for before in ("0" * 40, "1" * 40):
        pushed = host.start(WORKFLOW, "compare", push(before, fork))
        assert pushed is not None
        assert "Running stage" not in pushed.log
        assert "Nothing differs between `base` and `head`" in pushed.summary
    assert host.start(WORKFLOW, "comment", push("0" * 40, fork)) is None


def check_summary(machine: Machine, fork: str, head: str) -> None:
    """The summary's tables hold what the pipelines wrote."""
    results = Clone(machine.workspace)
    old, new = (json.loads(results.git("show", f"{side}:metrics/train.json")) for side in ("base", "head"))
    assert old != new
    assert results.git("rev-parse", "base~", "head~").split() == [fork, head]
    shown = rendered(machine.summary)
    assert shown.tables["Parameters that differ"][1:] == [["lr", "0.005", "0.02"]]
    assert [row[:3] for row in shown.tables["Metrics of the best epoch, metrics/train.json"][1:]] == [
        [key, cell_text(old[key]), cell_text(new[key])] for key in old
    ]
    assert "plots/learning_curves.png" in shown.code
    assert f"Base: {fork}, head: {head}. The report has the curves" in shown.plain
    assert "https://code.host/artifacts/report" in shown.html


class Comments:
    """The comments of the code host's pull requests, as its API gives and takes them."""

    def __init__(self) -> None:
        self.all: list[dict[str, Any]] = []
        self.calls: list[str] = []

    def add(self, login: str, body: str) -> dict[str, Any]:
        self.all.append({"id": len(self.all) + 1, "user": {"login": login}, "body": body})
        return self.all[-1]


@contextmanager
def api(comments: Comments) -> Iterator[dict[str, str]]:
    """Serve the comments on a free loopback port; gives the variables with which `gh` asks there."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            url = urlsplit(self.path)
            if self.command != "GET":
                comments.calls.append(f"{self.command} {url.path}")
            assert self.headers["Authorization"] == "token secret"
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or b"{}")
            assert len(sent.get("body", "")) <= 65_536
            headers = {}
            found: Any
            if self.command == "GET":
                assert url.path == f"/repos/{OURS}/issues/7/comments"
                query = {key: int(values[0]) for key, values in parse_qs(url.query).items()}
                size, page = query["per_page"], query.get("page", 1)
                found = comments.all[(page - 1) * size : page * size]
                if page * size < len(comments.all):
                    following = f"http://{url.netloc}{url.path}?per_page={size}&page={page + 1}"
                    headers["Link"] = f'<{following}>; rel="next"'
            elif self.command == "POST":
                assert url.path == f"/repos/{OURS}/issues/7/comments"
                found = comments.add(BOT, sent["body"])
            else:
                folder, _, identifier = url.path.rpartition("/")
                assert folder == f"/repos/{OURS}/issues/comments"
                found = comments.all[int(identifier) - 1]
                found["body"] = sent["body"]
            content = json.dumps(found).encode()
            self.send_response(200)
            for name, value in ({"Content-Type": "application/json"} | headers).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.answer()

        def do_PATCH(self) -> None:
            self.answer()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        # For this host alone `gh` does without TLS; it is reached through a proxy, which is this server.
        proxy = f"http://127.0.0.1:{server.server_address[1]}"
        yield {"GH_HOST": "github.localhost", "HTTP_PROXY": proxy, "http_proxy": proxy}
    finally:
        server.shutdown()
        server.server_close()


def comment(host: CodeHost, text: str) -> Machine:
    """Run the job that comments with a text that the other one has left."""
    (host.artifacts["comparison"] / "comparison.md").write_text(text)
    machine = host.start(WORKFLOW, "comment", pull_request("1", "2"))
    assert machine is not None
    return machine


@pytest.fixture
def comments() -> Comments:
    """Comments of a pull request of which none is the workflow's own."""
    comments = Comments()
    comments.add("someone", f"{MARKER}\nI can write that, too.")
    comments.add(BOT, f"Of another workflow, which quotes {MARKER}")
    for _ in range(120):
        comments.add("someone", "More than a page of comments.")
    return comments


@pytest.fixture
def host(comments: Comments, tmp_path: Path) -> Iterator[CodeHost]:
    for folder in ("host", "artifact", "config"):
        (tmp_path / folder).mkdir()
    with api(comments) as variables:
        config = {"GH_CONFIG_DIR": str(tmp_path / "config")}
        artifacts = {"comparison": tmp_path / "artifact"}
        yield CodeHost(tmp_path, tmp_path / "host", variables | config, artifacts=artifacts)


@NEEDS_GH
def test_one_comment_is_written_and_then_updated(host: CodeHost, comments: Comments) -> None:
    before = json.loads(json.dumps(comments.all))
    comment(host, "## The first\n")
    assert comments.calls == [f"POST /repos/{OURS}/issues/7/comments"]
    assert comments.all[len(before) :] == [
        {"id": 123, "user": {"login": BOT}, "body": f"{MARKER}\n## The first\n"}
    ]
    comment(host, "## The second, é\n")
    assert comments.calls[1:] == [f"PATCH /repos/{OURS}/issues/comments/123"]
    assert comments.all[-1]["body"] == f"{MARKER}\n## The second, é\n"
    assert comments.all[:-1] == before


@NEEDS_GH
def test_what_the_head_wrote_is_only_text(host: CodeHost, comments: Comments) -> None:
    hostile = "$(touch run) `touch run` '\n\"; touch run\n@/etc/passwd\nEOF\n${{ github.token }}\n"
    machine = comment(host, hostile)
    assert comments.all[-1]["body"] == f"{MARKER}\n{hostile}"
    assert not (machine.workspace / "run").exists()
    assert sorted(path.name for path in machine.workspace.iterdir()) == ["comment.md", "comparison.md"]
    for line in ("a line 🙂\n", "a line\n"):
        comment(host, line * 20_000)
        body = comments.all[-1]["body"]
        assert 59_900 < len(body.encode()) < 60_200
        assert body.endswith(f"\n{line}\nThe rest is in the summary of the job.\n")
