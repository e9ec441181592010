"""Requests a second of `src.serve`: `python -m benchmarks.serving`, with Debian's `wrk` on the PATH.

One 84×84 PNG in each request, 32 connections, ten seconds, with up to 64 requests answered together and with
each alone, in turn. The load generator runs on the same cores.
"""

from __future__ import annotations

import io
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from PIL import Image

from benchmarks.ports import free_port
from benchmarks.record import record, spread
from src.data.splits import load_split
from src.runtime.errors import UserError, run
from src.runtime.paths import MODEL, ONNX, VAL_SPLIT
from src.serve.server import BATCH

ROUNDS, SECONDS, CONNECTIONS = 3, 10, 32
SERVE = """
import sys, uvicorn
from src.serve.models import open_models
from src.serve.server import Server
application = Server(open_models([sys.argv[1]]), "127.0.0.1", batch=int(sys.argv[3])).application()
uvicorn.run(application, port=int(sys.argv[2]), log_level="error", access_log=False)
"""
SCRIPT = """
wrk.method = "POST"
local file = io.open("{}", "rb")
wrk.body = file:read("*a")
file:close()
"""


def measured(model: Path, batch: int, script: Path) -> tuple[float, float]:
    """Requests a second, and the milliseconds in which 99 % of them were answered."""
    port = free_port()
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever proxy this machine has
    with subprocess.Popen((sys.executable, "-c", SERVE, str(model), str(port), str(batch))) as server:
        try:
            for _ in range(200):
                try:
                    direct.open(f"http://127.0.0.1:{port}/healthz").close()
                    break
                except OSError:
                    time.sleep(0.1)
            else:
                raise UserError("the server does not answer")
            command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--latency", "-s", str(script)]
            said = subprocess.run(
                [*command, f"http://127.0.0.1:{port}/predict"], check=True, capture_output=True, text=True
            ).stdout
        finally:
            server.kill()
    if "Non-2xx" in said:
        raise UserError(f"some requests failed:\n{said}")
    rate, last = re.search(r"Requests/sec:\s+([\d.]+)", said), re.search(r"99%\s+([\d.]+)(ms|s)", said)
    assert rate is not None
    assert last is not None
    return float(rate[1]), float(last[1]) * (1 if last[2] == "ms" else 1000)


def main() -> None:
    if shutil.which("wrk") is None:
        raise UserError("wrk is not on the PATH; expected Debian's package wrk")
    picture = io.BytesIO()
    Image.fromarray(255 - load_split(VAL_SPLIT).images[0]).resize((84, 84)).save(picture, "PNG")
    with tempfile.TemporaryDirectory() as folder:
        file, script = Path(folder, "picture.png"), Path(folder, "post.lua")
        file.write_bytes(picture.getvalue())
        script.write_text(SCRIPT.format(file))
        ways = [(model, batch) for model in (MODEL, ONNX) for batch in (BATCH, 1)]
        found: dict[tuple[Path, int], list[tuple[float, float]]] = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for way in ways:
                found[way].append(measured(*way, script))
    for (model, batch), values in found.items():
        rates, latencies = zip(*values, strict=True)
        together = f"up to {batch} answered together" if batch > 1 else "each alone"
        record(
            "python -m benchmarks.serving",
            f"`POST /predict` with one 84×84 PNG each, {CONNECTIONS} connections, {together}: `{model}`",
            f"{spread(rates, ',.0f')} requests a second, 99 % within {statistics.median(latencies):.0f} ms",
        )


if __name__ == "__main__":
    run(main)
