"""The picture of the page in docs: `python -m benchmarks.demo_picture MODEL`, with chromium on the PATH.

A seven, drawn by the mouse, beside the answers of a model and of the untrained network: docs/demo.png.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from PIL import Image

from benchmarks.browser import Browser
from src.command_line import command_parser
from src.runtime.errors import UserError, run
from src.runtime.files import replacing

PICTURE = Path("docs/demo.png")
PORT = 8765
SEVEN = [(0.27, 0.22), (0.5, 0.2), (0.74, 0.19), (0.68, 0.35), (0.58, 0.55), (0.5, 0.72), (0.46, 0.86)]


def seven(browser: Browser) -> bytes:
    """A PNG of the page, once a seven has been drawn on it and both models have answered."""
    browser.size(1100, 780)
    browser.visit(f"http://127.0.0.1:{PORT}")
    left, top, width = browser.evaluate("(({x, y, width}) => [x, y, width])(canvas.getBoundingClientRect())")
    browser.drag([(left + width * x, top + width * y) for x, y in SEVEN])
    browser.wait("!asking && document.querySelectorAll('article').length === 2")
    time.sleep(0.5)
    return browser.picture(whole=False)


def main() -> None:
    parser = command_parser("benchmarks.demo_picture", __doc__)
    parser.add_argument("model", metavar="MODEL")
    model = parser.parse_args().model
    command = (sys.executable, "-m", "src.serve", model, "untrained", "--port", str(PORT))
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        try:
            assert server.stdout is not None
            if not server.stdout.readline():  # its address, once it listens
                raise UserError("the server has ended, see above")
            with closing(Browser(Path(folder))) as browser:
                picture = seven(browser)
        finally:
            server.terminate()
    with Image.open(io.BytesIO(picture)) as shot:
        colours = shot.convert("P", palette=Image.Palette.ADAPTIVE, colors=128)
        with replacing(PICTURE) as temporary:
            colours.save(temporary, optimize=True)
    print(f"{PICTURE}: {PICTURE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    run(main)
