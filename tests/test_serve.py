"""The server and its page: a real process on loopback, and a real browser without any other network."""

from __future__ import annotations

import asyncio
import base64
import csv
import http.client
import io
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from benchmarks.browser import Browser
from benchmarks.ports import free_port
from src.data.splits import ImageFormat, load_split
from src.predict.classifiers import TorchClassifier
from src.predict.predictions import predict as predict_pictures
from src.runtime.errors import UserError
from tests.conftest import Clone, Predict

if find_spec("starlette") is None or find_spec("uvicorn") is None:
    pytest.skip("pip install -r requirements-serve.txt", allow_module_level=True)

from starlette.requests import Request

from src.serve.__main__ import listen, parse_arguments
from src.serve.batching import Batcher
from src.serve.guards import MAX_BODY, RefusedError, refuse_foreign
from src.serve.models import ServedModel, described, open_models
from src.serve.server import PAGE, _test_examples

LAYERS = ["conv1: 6 channels of 28×28", "act1: 6 channels of 28×28"]
LAYERS += ["conv2: 16 channels of 10×10", "act2: 16 channels of 10×10"]
# The ends of the colour map viridis.
PURPLE, YELLOW = [68, 1, 84], [253, 231, 36]


class Served:
    """A running server.

    Attributes:
        port: on the loopback interface.
        process: its process.
        clone: where it runs.
    """

    def __init__(self, clone: Clone, process: subprocess.Popen[str], port: int) -> None:
        self.clone, self.process, self.port = clone, process, port

    def ask(
        self, method: str, path: str, body: bytes = b"", **headers: str
    ) -> tuple[int, bytes, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        found = answer.status, answer.read(), {key.lower(): value for key, value in answer.getheaders()}
        connection.close()
        return found

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serving(clone: Clone, *models: str) -> Iterator[Served]:
    port = free_port()
    command = ("python", "-m", "src.serve", *models, "--port", str(port))
    process = clone.start(*command, stderr=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == f"http://127.0.0.1:{port} (Ctrl-C ends it)\n", process.stderr
        served = Served(clone, process, port)
        until = time.monotonic() + 30
        while True:
            try:
                served.ask("GET", "/healthz")
                break
            except ConnectionError:
                assert time.monotonic() < until
                time.sleep(0.05)
        yield served
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def served(reproduced: Clone) -> Iterator[Served]:
    with serving(reproduced, "models/model.pt", "untrained") as server:
        yield server


def form(files: dict[str, bytes]) -> tuple[bytes, str]:
    boundary = "x" * 30
    heading = "--{}\r\nContent-Disposition: form-data; name=p; filename={}\r\n\r\n"
    parts = [heading.format(boundary, name).encode() + content for name, content in files.items()]
    return b"\r\n".join([*parts, f"--{boundary}--\r\n".encode()]), f"multipart/form-data; boundary={boundary}"


def test_the_answers_are_those_of_the_command(served: Served, predict: Predict, tmp_path: Path) -> None:
    images = load_split(served.clone.path / "data/prepared/val.npz").images[:5]
    files = []
    for number, image in enumerate(images):
        files.append(tmp_path / f"{number}.png")
        Image.fromarray(255 - image).resize((84, 84)).save(files[-1])
    (tmp_path / "note.png").write_text("no picture")
    files.append(tmp_path / "note.png")
    expected = json.loads(predict(served.clone, "--json", *map(str, files), check=False).stdout)
    contents = {file.name: file.read_bytes() for file in files}
    body, kind = form(contents)
    status, answer, _ = served.ask("POST", "/predict", body, **{"Content-Type": kind})
    assert status == 200
    assert json.loads(answer) == [one | {"file": Path(one["file"]).name} for one in expected]
    upper = kind.replace("multipart/form-data", "Multipart/Form-Data")
    assert served.ask("POST", "/predict", body, **{"Content-Type": upper})[:2] == (status, answer)
    body, kind = form({'"+2AA-"': contents["0.png"]})
    status, answer, _ = served.ask("POST", "/predict", body, **{"Content-Type": f"{kind}; charset=utf-7"})
    assert (status, json.loads(answer)[0]["file"]) == (200, "\\ud800"), "no name that breaks the answer"
    status, answer, _ = served.ask("POST", "/predict", contents["0.png"])
    alone = json.loads(predict(served.clone, "--json", str(files[0])).stdout)
    assert (status, json.loads(answer)) == (200, [alone[0] | {"file": "picture"}])
    status, answer, _ = served.ask("POST", "/predict", contents["note.png"])
    assert status == 422
    assert json.loads(answer)[0]["error"].startswith("not a picture; expected PNG")
    assert json.loads(served.ask("GET", "/healthz")[1]) == {
        "status": "ok",
        "models": ["models/model.pt", "untrained"],
    }


@pytest.mark.parametrize(
    ("headers", "status", "said"),
    [
        (
            {"Host": "evil.example"},
            421,
            "Host: 'evil.example' is not this server; expected its address, or the name given as --host",
        ),
        (
            {"Host": "192.0.2.1"},
            421,
            "Host: '192.0.2.1' is not this server; expected its address, or the name given as --host",
        ),
        (
            {"Host": "[::1"},
            421,
            "Host: '[::1' is not this server; expected its address, or the name given as --host",
        ),
        ({"Origin": "http://[::1"}, 403, "Origin: 'http://[::1' is another site"),
        ({"Origin": "http://evil.example"}, 403, "Origin: 'http://evil.example' is another site"),
        ({"Origin": "null"}, 403, "Origin: 'null' is another site"),
        ({"Origin": "http://127.0.0.1:1"}, 403, "Origin: 'http://127.0.0.1:1' is another site"),
        ({"Content-Length": str(MAX_BODY + 1)}, 413, f"the body is larger than {MAX_BODY:,} bytes"),
        ({"Content-Type": "multipart/form-data"}, 400, "not a form of files: "),
    ],
)
def test_who_is_no_guest_is_refused(served: Served, headers: dict[str, str], status: int, said: str) -> None:
    found, answer, sent = served.ask("POST", "/predict", b"x", **headers)
    assert found == status
    assert json.loads(answer)["error"].startswith(said)
    assert "default-src 'none'" in sent["content-security-policy"]


def test_no_part_of_it_is_for_another_sites_page(served: Served) -> None:
    for method, path in [*(("GET", path) for path in (*PAGE, "/healthz", "/examples")), ("POST", "/look")]:
        status, _, sent = served.ask(method, path, Host="evil.example")
        assert status == 421, path
        assert (sent["cache-control"], sent["x-content-type-options"]) == ("no-store", "nosniff")


def test_no_more_files_than_it_says_are_taken(served: Served) -> None:
    body, kind = form({f"{number}.png": b"x" for number in range(257)})
    status, answer, _ = served.ask("POST", "/predict", body, **{"Content-Type": kind})
    assert (status, json.loads(answer)["error"][:34]) == (400, "not a form of files: Too many file")


@pytest.mark.parametrize("left", [0, 200, -5])
def test_a_form_that_is_cut_off_is_not_answered_in_part(served: Served, left: int) -> None:
    body, kind = form({"a.png": b"x", "b.png": b"x"})
    status, answer, _ = served.ask("POST", "/predict", body[:left], **{"Content-Type": kind})
    assert (status, json.loads(answer)["error"]) == (400, "not a whole form; expected its closing boundary")


def test_a_damaged_form_writes_nothing_on_the_servers_terminal(reproduced: Clone) -> None:
    body, kind = form({"a.png": b"x"})
    with serving(reproduced) as server:
        status, answer, _ = server.ask("POST", "/predict", b"preamble" + body, **{"Content-Type": kind})
        assert (status, json.loads(answer)["error"]) == (400, "not a form of files: Invalid multipart data.")
        server.process.kill()
        assert server.process.stderr is not None
        assert server.process.stderr.read() == ""


@pytest.mark.parametrize("port", ["0", "65536"])
def test_a_port_that_is_none_is_refused(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["serve", "--port", port])
    with pytest.raises(UserError, match=f"^--port: {port} is invalid; expected 1 to 65535$"):
        parse_arguments()


@pytest.mark.parametrize("more", [[b"x"], [b"x" * (1 << 20)] * 2])  # it ends where it is too large, or later
def test_a_body_of_unknown_length_is_read_no_further_than_its_limit(
    served: Served, more: list[bytes]
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    chunks = iter([b"x" * (1 << 20)] * (MAX_BODY // (1 << 20)) + more)
    with closing(connection):
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.request("POST", "/predict", chunks, encode_chunked=True)
        assert connection.getresponse().status == 413


def test_who_sends_all_of_a_large_body_first_reads_why_it_is_refused(served: Served) -> None:
    body = bytes(MAX_BODY + (1 << 20))
    for _ in range(5):
        status, answer, _ = served.ask("POST", "/predict", body, Connection="close")  # as urllib does
        assert (status, json.loads(answer)["error"]) == (413, f"the body is larger than {MAX_BODY:,} bytes")


def test_it_listens_on_loopback_alone_and_a_used_port_is_said(served: Served) -> None:
    listening = {
        one.laddr for one in psutil.Process(served.process.pid).net_connections() if one.status == "LISTEN"
    }
    assert {address.ip for address in listening} == {"127.0.0.1"}
    refused = served.clone.run("python", "-m", "src.serve", "--port", str(served.port), check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        f"error: 127.0.0.1:{served.port}: Address already in use; expected a free --port, and a "
        "--host that is an address of this machine\n"
    )


@pytest.mark.parametrize("path", PAGE)
def test_the_page_may_load_nothing_from_elsewhere(served: Served, path: str) -> None:
    status, content, sent = served.ask("GET", path)
    assert status == 200
    policy = dict(each.split(maxsplit=1) for each in sent["content-security-policy"].split("; "))
    assert policy.pop("default-src") == "'none'"
    assert {"base-uri", "form-action", "frame-ancestors"} <= policy.keys()
    assert set(" ".join(policy.values()).split()) <= {"'self'", "'none'", "data:", "blob:"}
    assert b"http" not in content


@pytest.mark.parametrize(
    ("name", "bound_to", "own"),
    [
        ("localhost", "127.0.0.1", True),
        (socket.gethostname(), "127.0.0.1", False),
        (socket.gethostname(), "0.0.0.0", True),
        ("host.lan", "Host.lan", True),  # as --host names it, and so does the address that is printed
        ("evil.example", "0.0.0.0", False),
        ("192.0.2.1", "0.0.0.0", True),  # as other machines of the network name it
        ("192.0.2.1", "localhost", False),
    ],
)
def test_the_names_of_the_server(name: str, bound_to: str, own: bool) -> None:
    request = Request({"type": "http", "headers": [(b"host", f"{name}:8000".encode())]})
    with nullcontext() if own else pytest.raises(RefusedError, match="is not this server"):
        refuse_foreign(request, bound_to)


@pytest.mark.parametrize("host", ["a..b", "nowhere.invalid"])
def test_a_host_that_is_none_is_one_line(host: str) -> None:
    with pytest.raises(
        UserError, match=rf"^{host}:8000: .+; expected a free --port, and a --host that is an "
    ):
        listen(host, 8000)


def test_of_two_servers_that_start_together_one_is_refused() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(
            UserError, match=f"^127.0.0.1:{port}: Address already in use; expected a free --p"
        ):
            listen("127.0.0.1", port)


def pixels(address: str) -> np.ndarray:
    """Those of an image in a page."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))


def test_examples_are_those_of_the_table_and_none_of_a_damaged_one(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clone.path)
    found = _test_examples()
    table = clone.path / "plots/predictions.csv"
    lines = table.read_text().splitlines()
    rows = list(csv.DictReader(lines))
    chosen = [rows[example["index"]] for example in found]
    assert [example["wrong"] for example in found] == [row["actual"] != row["predicted"] for row in chosen]
    assert [example["actual"] for example in found] == [row["actual"] for row in chosen]
    assert {example["wrong"] for example in found} == {True, False}
    images = load_split(Path("data/prepared/test.npz")).images
    for example in found:
        np.testing.assert_array_equal(pixels(example["image"]), images[example["index"]])
    for damaged in ("", lines[0], "\n".join([lines[0].replace("actual", "real"), *lines[1:]])):
        table.write_text(damaged)
        assert _test_examples() == []


def test_what_is_being_answered_ends_with_the_server(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clone.path)
    (model,) = open_models(["models/model.pt"])
    content = io.BytesIO()
    Image.new("L", (3000, 3000), 255).save(content, "PNG")
    pictures = [(str(number), content.getvalue()) for number in range(256)]

    async def asked_and_cancelled() -> None:
        batcher = Batcher(model.classifier, 64)
        working = asyncio.create_task(batcher.work())
        answer = asyncio.create_task(batcher.ask(pictures))
        await asyncio.sleep(0.5)
        working.cancel()
        answer.cancel()
        await asyncio.gather(working, answer, return_exceptions=True)
        batcher._thread.shutdown()  # as Python does at its end: waits for the thread

    started = time.monotonic()
    asyncio.run(asked_and_cancelled())
    assert time.monotonic() - started < 15, "all of them take half a minute"


class Brightness:
    """A model of two classes, dark and bright, with a defect where a picture is neither."""

    dataset, class_names, format = "Own", ["dark", "bright"], ImageFormat(32, 3)

    def logits(self, images: np.ndarray) -> np.ndarray:
        shades = images.mean(axis=(1, 2, 3))
        if ((shades > 100) & (shades < 150)).any():
            raise RuntimeError("neither")
        return np.eye(2, dtype=np.float32)[(shades > 128).astype(int)]


def plain(shade: int) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (40, 40), (shade, shade, shade)).save(content, "PNG")
    return content.getvalue()


def test_each_request_has_its_own_answer_and_a_defect_ends_nothing() -> None:
    async def asked() -> None:
        batcher = Batcher(Brightness(), 64)
        working = asyncio.create_task(batcher.work())

        async def classes(*shades: int) -> list[int]:
            together = asyncio.gather(*(batcher.ask([("picture", plain(shade))]) for shade in shades))
            return [int(one.probabilities.argmax()) for (one,) in await asyncio.wait_for(together, 10)]

        assert await classes(0, 255) == [0, 1]
        with pytest.raises(RuntimeError, match="neither"):
            await classes(128)
        assert await classes(255) == [1]
        working.cancel()

    asyncio.run(asked())


def test_a_client_that_has_gone_costs_its_neighbours_nothing() -> None:
    async def asked() -> None:
        batcher = Batcher(Brightness(), 64)
        gone, stays = (asyncio.create_task(batcher.ask([("picture", plain(255))])) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        working = asyncio.create_task(batcher.work())
        (answer,) = await asyncio.wait_for(stays, 10)
        assert answer.probabilities.argmax() == 1
        working.cancel()

    asyncio.run(asked())


def test_the_page_shows_an_exported_model_and_says_what_is_no_picture() -> None:
    model = ServedModel("models/model.onnx", Brightness())
    good, bad = predict_pictures([("a.png", plain(255)), ("b.png", b"no picture")], model.classifier)
    shown = described(model, good)
    assert (shown["layers"], shown["probabilities"][1] > 0.5) == ([], True)
    np.testing.assert_array_equal(pixels(shown["seen"]), good.prepared.image)
    about = {"model": "models/model.onnx", "classes": ["dark", "bright"]}
    assert described(model, bad) == about | {"error": bad.problem}


def test_the_strongest_answer_of_a_layer_is_its_brightest_pixel(reproduced: Clone) -> None:
    classifier = TorchClassifier(reproduced.path / "models/model.pt")
    digit = load_split(reproduced.path / "data/prepared/val.npz").images[0]
    content = io.BytesIO()
    Image.fromarray(digit).save(content, "PNG")
    (one,) = predict_pictures([("digit.png", content.getvalue())], classifier)
    shown = described(ServedModel("model", classifier), one)
    np.testing.assert_array_equal(pixels(shown["seen"]), one.prepared.image)
    maps = classifier.feature_maps(one.prepared.image)
    assert [layer["name"] for layer in shown["layers"]] == list(maps)
    for layer, channels in zip(shown["layers"], maps.values(), strict=True):
        tiles = np.stack([pixels(tile) for tile in layer["tiles"]])
        for place, colour in ((channels.argmax(), YELLOW), (channels.argmin(), PURPLE)):
            assert tiles[np.unravel_index(place, channels.shape)].tolist() == colour


def test_models_of_commits_and_experiments(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clone.path)
    head = clone.git("rev-parse", "HEAD").strip()
    clone.git("update-ref", f"refs/exps/{head[:2]}/{head[2:]}/wide-net", head)
    images = load_split(clone.path / "data/prepared/val.npz").images[:20]
    (by_file,) = open_models(["models/model.pt"])
    (untrained,) = open_models(["untrained"])
    assert (untrained.classifier.logits(images) != by_file.classifier.logits(images)).any()
    (clone.path / "models/model.pt").unlink()  # DVC's cache alone has it now
    by_commit, by_name = open_models([head[:10], "wide-net"])
    expected = by_file.classifier.logits(images)
    assert (by_commit.classifier.logits(images) == expected).all()
    assert (by_name.classifier.logits(images) == expected).all()
    with pytest.raises(UserError, match=r"^'narrow-net' is invalid \(.+\); expected a \.pt or \.onnx file, "):
        open_models(["narrow-net"])


def test_ctrl_c_ends_it_at_once(reproduced: Clone) -> None:
    with serving(reproduced) as server, socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx")
        time.sleep(0.2)  # the rest of the picture never comes
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(timeout=10) in (0, 130)
        said = server.process.communicate()[1].splitlines()
        assert said[-1] == "interrupted"
        assert len(said) <= 2, "no traceback of the request that was awaited"


def test_a_second_finger_draws_nothing(served: Served, browser: Browser) -> None:
    browser.size(1200, 900)
    browser.visit(served.address)
    left, top = browser.evaluate("[canvas.getBoundingClientRect().x, canvas.getBoundingClientRect().y]")
    first, palm = [(left + 50 + 10 * step, top + 50) for step in range(4)], (left + 200, top + 200)
    browser.touch([[first[0]], [first[1]], [first[1], palm], [first[2], palm], [first[3], palm]])
    assert browser.evaluate("strokes.length") == 1
    rows = browser.evaluate("[...new Set(strokes[0].points.map((point) => Math.round(point[1])))]")
    assert len(rows) == 1, "a straight line"
    browser.touch([[first[0]], [first[1]]])
    assert browser.evaluate("strokes.length") == 2, "the next one is a line of its own"


def draw_seven(browser: Browser) -> None:
    box = browser.evaluate(
        "(({x, y, width}) => [x, y, width])(document.getElementById('canvas').getBoundingClientRect())"
    )
    corners = [(0.25, 0.2), (0.75, 0.2), (0.65, 0.4), (0.55, 0.6), (0.45, 0.85)]
    browser.drag([(box[0] + box[2] * x, box[1] + box[2] * y) for x, y in corners])


SETTLED = "!asking && document.querySelectorAll('article').length === 2"


def test_every_panel_answers_a_drawing(
    served: Served, browser: Browser, predict: Predict, tmp_path: Path
) -> None:
    browser.size(1200, 900)
    browser.visit(served.address)
    draw_seven(browser)
    browser.wait(SETTLED)
    text = browser.evaluate("document.getElementById('answers').innerText")
    assert browser.evaluate("document.querySelectorAll('article h2')[1].textContent") == "untrained"
    assert browser.evaluate("document.querySelectorAll('.bars tr').length") == 20
    for layer in LAYERS:
        assert text.count(layer) == 2
    assert browser.evaluate("document.querySelectorAll('.maps img').length") == 2 * (6 + 6 + 6 + 16 + 16 + 16)
    assert browser.evaluate("[...document.images].every((image) => image.hidden || image.naturalWidth > 0)")
    assert re.match(r"models/model.pt: \d, \d+\.\d %; untrained: ", browser.evaluate("status_.textContent"))
    # What the page shows is what the command says of the same picture.
    drawing = browser.evaluate("canvas.toDataURL('image/png')")
    (tmp_path / "drawing.png").write_bytes(base64.b64decode(drawing.partition(",")[2]))
    said = predict(served.clone, "--json", str(tmp_path / "drawing.png")).stdout
    shown = browser.evaluate(
        "[...document.querySelectorAll('article:first-child .bars td + td')].map((e) => e.textContent)"
    )
    probabilities = json.loads(said)[0]["probabilities"]
    assert shown == [f"{100 * share:.1f} %" for share in probabilities.values()]

    browser.evaluate("document.getElementById('undo').click()")
    browser.wait("!asking && document.querySelectorAll('article').length === 0")
    browser.wait("document.querySelectorAll('#examples button').length > 0")
    browser.evaluate("document.querySelector('#examples button').click()")
    browser.wait(SETTLED)
    assert not browser.evaluate("given.hidden")
    assert browser.complaints() == []
    assert {address.partition(":")[0] for address in browser.requests()} <= {"http", "data", "blob"}
    asked = [address for address in browser.requests() if address.startswith("http")]
    assert all(address.startswith(served.address) for address in asked)
    for scheme, width in (("light", 1200), ("dark", 1200), ("light", 380)):
        browser.prefer(scheme)
        browser.size(width, 900)
        assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
        if folder := os.environ.get("LENET_SCREENSHOTS"):
            Path(folder, f"demo-{scheme}-{width}.png").write_bytes(browser.picture())


def test_a_picture_without_an_answer_has_none_of_another_picture(served: Served, browser: Browser) -> None:
    browser.size(1200, 900)
    browser.visit(served.address)
    too_large = f"the body is larger than {MAX_BODY:,} bytes"
    for size, said in ((0, "the file is empty"), (MAX_BODY + 1, too_large)):
        browser.evaluate("document.getElementById('clear').click()")
        draw_seven(browser)
        browser.wait(SETTLED)
        browser.evaluate(f"take([new File([new Uint8Array({size})], 'a.png', {{type: 'image/png'}})])")
        browser.wait("!asking")
        assert browser.evaluate("status_.textContent") == f"No answer: {said}"
        assert browser.evaluate("answers.children.length") == 0


@pytest.mark.slow
def test_ten_thousand_malformed_requests_leave_it_answering(served: Served) -> None:
    generator = random.Random(0)
    picture = (served.clone.path / "plots/samples_train.png").read_bytes()
    body, kind = form({"a.png": picture[:5000]})
    resident = None
    for number in range(10_000):
        damaged = bytearray(body if number % 3 else picture[:2000])
        for _ in range(generator.randrange(1, 40)):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        headers = {"Content-Type": kind} if number % 3 else {}
        status, answer, _ = served.ask("POST", "/predict", bytes(damaged), **headers)
        assert status in (200, 400, 422)
        assert b"Traceback" not in answer
        if number == 2000:
            resident = psutil.Process(served.process.pid).memory_info().rss
    assert resident is not None
    assert psutil.Process(served.process.pid).memory_info().rss < 1.1 * resident
    assert served.ask("GET", "/healthz")[0] == 200


@pytest.mark.slow
def test_drawings_of_real_digits_are_read(clone: Clone, browser: Browser) -> None:
    """Test images of MNIST, enlarged onto the canvas, by a model of MNIST; and a seven by the mouse."""
    if not os.environ.get("LENET_DATA_ROOT"):
        pytest.skip("no MNIST here")
    clone.git("checkout", "--quiet", ".")
    values = {"dataset": "MNIST", "epochs": "4", "batch_size": "128", "lr": "0.01", "dropout": "0.1"}
    words = [word for key, value in values.items() for word in ("-S", f"{key}={value}")]
    clone.dvc("exp", "run", *words)
    test = load_split(clone.path / "data/prepared/test.npz")
    with serving(clone) as server:
        browser.size(1200, 900)
        browser.visit(server.address)
        right = 0
        for image, label in zip(test.images[:100], test.labels[:100], strict=True):
            pixels = json.dumps((255 - image).ravel().tolist())
            answer = browser.evaluate(f"""(async () => {{
                const small = new OffscreenCanvas(28, 28), data = new ImageData(28, 28);
                {pixels}.forEach((shade, place) => data.data.set([shade, shade, shade, 255], 4 * place));
                small.getContext('2d').putImageData(data, 0, 0);
                context.drawImage(small, 0, 0, canvas.width, canvas.height);
                strokes.push({{size: 0.01, points: [[-9, -9]]}});
                const body = await new Promise((resolve) => canvas.toBlob(resolve, 'image/png'));
                const found = await (await fetch('look', {{method: 'POST', body}})).json();
                const shares = found[0].probabilities ?? [1];
                return shares.indexOf(Math.max(...shares));
            }})()""")
            right += answer == label
        assert right >= 97
        browser.evaluate("document.getElementById('clear').click()")
        draw_seven(browser)
        browser.wait("!asking && document.querySelectorAll('article').length === 1")
        assert browser.evaluate("status_.textContent").startswith("7, ")
