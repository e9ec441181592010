"""A real HTTP server on loopback that can be told to misbehave."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Mirror:
    """Files by name, and how to serve them.

    Attributes:
        files: what is served; any other name is a 404.
        fault: `none`; `cut` announces the whole file and hangs up half-way; `wrong` serves other bytes of
            the same length; `silent` accepts the request and never answers; `stall` sends half of the file
            and then nothing; `loop` says that the file is where it was asked for.
        asked: the names asked for, in order.
    """

    files: dict[str, bytes]
    fault: str = "none"
    asked: list[str] = field(default_factory=list)
    url: str = ""
    released: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serve(files: dict[str, bytes], fault: str = "none") -> Iterator[Mirror]:
    """Serve `files` at `Mirror.url` on a free loopback port."""
    mirror = Mirror(files, fault)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            mirror.asked.append(name)
            content = mirror.files.get(name)
            if mirror.fault == "silent":
                mirror.released.wait(60)
                return
            if content is None:
                self.send_error(404)
                return
            if mirror.fault == "loop":
                self.send_response(302)
                self.send_header("Location", self.path)
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            half = content[: len(content) // 2]
            if mirror.fault == "wrong":
                self.wfile.write(bytes(len(content)))
            elif mirror.fault == "cut":
                self.wfile.write(half)
            elif mirror.fault == "stall":
                self.wfile.write(half)
                self.wfile.flush()
                mirror.released.wait(60)
            else:
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    mirror.url = f"http://127.0.0.1:{server.server_address[1]}/data/"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield mirror
    finally:
        mirror.released.set()
        server.shutdown()
        server.server_close()
