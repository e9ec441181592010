"""A real browser: headless Chromium without a network, driven through its debugging pipe."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from src.runtime.errors import UserError

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--remote-debugging-pipe",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
SECONDS = 20


class Browser:
    """One page of a browser that reaches no host but a server on this machine.

    Attributes:
        events: what the browser reported since the page was opened, oldest first.
    """

    def __init__(self, profile: Path) -> None:
        """Start it, with a folder for its files.

        Raises:
            UserError: there is none.
        """
        program = next(filter(None, map(shutil.which, PROGRAMS)), None)
        if program is None:
            raise UserError(f"none of {', '.join(PROGRAMS)} is installed")
        there, self._commands = _pipe()
        answers, back = _pipe()

        def connect() -> None:
            os.dup2(there, 3)  # where the browser reads, and where it writes
            os.dup2(back, 4)

        self._process = subprocess.Popen(
            (program, *OPTIONS, f"--user-data-dir={profile}"),
            close_fds=False,
            preexec_fn=connect,
            stderr=subprocess.DEVNULL,
        )
        os.close(there)
        os.close(back)
        self._reader = os.fdopen(answers, "rb")
        self._sent = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Call a method of the browser's protocol and return its result."""
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._sent:
                assert "error" not in answer, answer
                return answer["result"]

    def _next(self) -> dict[str, Any]:
        message = bytearray()
        while (byte := self._reader.read(1)) != b"\0":
            assert byte, "the browser has ended"
            message += byte
        answer = json.loads(message)
        if "method" in answer:
            self.events.append(answer)
        return answer

    def open(self, path: Path) -> None:
        """Load a file and wait until it and its charts are drawn."""
        self.visit(path.as_uri())
        self.wait(
            "document.querySelectorAll('.drawing').length === document.querySelectorAll('svg.marks').length"
        )

    def visit(self, address: str) -> None:
        """Load a page, by its address."""
        self.events.clear()
        self.call("Page.navigate", url=address)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._next()

    def drag(self, points: Sequence[tuple[float, float]]) -> None:
        """Press the mouse's button at the first point, in CSS pixels, move to the others, and release it."""
        held = {"button": "left", "clickCount": 1}
        for number, (x, y) in enumerate(points):
            kind = "mouseMoved" if number else "mousePressed"
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, buttons=1, **held)
        x, y = points[-1]
        self.call("Input.dispatchMouseEvent", type="mouseReleased", x=x, y=y, **held)

    def touch(self, moves: Sequence[Sequence[tuple[float, float]]]) -> None:
        """Move fingers over the page: where each of them is, in CSS pixels, time by time; then lift them."""
        for number, fingers in enumerate(moves):
            points = [{"x": x, "y": y, "id": finger} for finger, (x, y) in enumerate(fingers)]
            kind = "touchStart" if number == 0 or len(fingers) > len(moves[number - 1]) else "touchMove"
            self.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def picture(self, *, whole: bool = True) -> bytes:
        """A screenshot of the whole page, or of what the window shows, as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"])

    def evaluate(self, expression: str) -> Any:  # noqa: ANN401
        """The value of a JavaScript expression, awaited where it is a promise."""
        result = self.call(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
            timeout=1000 * SECONDS,
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until a JavaScript condition holds."""
        held = self.evaluate(
            f"""new Promise((resolve) => {{
                const end = Date.now() + {1000 * SECONDS};
                const ask = () => {{
                    const holds = Boolean({condition});
                    if (holds || Date.now() > end) resolve(holds);
                    else setTimeout(ask, 20);
                }};
                ask();
            }})"""
        )
        assert held, f"{condition}: not after {SECONDS} s"

    def press(self, key: str, text: str = "") -> None:
        """Press and release a key of the keyboard."""
        codes = {"Tab": 9, " ": 32, "Enter": 13, "Escape": 27}
        named = {"key": key, "windowsVirtualKeyCode": codes[key]}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **named)
        self.call("Input.dispatchKeyEvent", type="keyUp", **named)

    def size(self, width: int, height: int = 800) -> None:
        """Give the page a window of this size in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def prefer(self, scheme: str) -> None:
        """Let the user prefer a `light` or a `dark` page."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def requests(self) -> list[str]:
        """The addresses that the page asked for."""
        return [
            event["params"]["request"]["url"]
            for event in self.events
            if event["method"] == "Network.requestWillBeSent"
        ]

    def complaints(self) -> list[dict[str, Any]]:
        """What the browser's console would show, at any level."""
        told = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [event["params"] for event in self.events if event["method"] in told]

    def close(self) -> None:
        os.close(self._commands)  # which is how the browser is told to end
        self._reader.close()
        try:
            self._process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _pipe() -> tuple[int, int]:
    # Out of the way of 3 and 4.
    ends = os.pipe()
    read, write = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return read, write
