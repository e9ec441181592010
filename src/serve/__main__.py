"""A page to draw on, and predictions for other programs: `python -m src.serve [MODEL …]`.

A model is a .pt or .onnx file, `untrained`, or a commit, branch, tag or experiment; the page shows several
side by side, and POST /predict asks the first. What is drawn or sent goes to this process and nowhere else.
"""

from __future__ import annotations

import argparse
import socket
import threading
import webbrowser
from importlib.util import find_spec

from src.command_line import command_parser, parse_in_any_order
from src.runtime.errors import UserError, run
from src.runtime.paths import MODEL


def parse_arguments() -> argparse.Namespace:
    parser = command_parser("src.serve", __doc__)
    parser.add_argument(
        "models", nargs="*", default=[str(MODEL)], metavar="MODEL", help=f"see above ({MODEL})"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on (%(default)s)")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    arguments = parse_in_any_order(parser)
    if not 0 < arguments.port < 65536:
        raise UserError(f"--port: {arguments.port} is invalid; expected 1 to 65535")
    return arguments


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        UserError: it is in use, or no address of this machine.
    """
    found = None
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        found = socket.socket(family)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen()
    except (OSError, UnicodeError) as error:  # the latter of what cannot be a name
        if found:
            found.close()
        why = getattr(error, "strerror", None) or "not a host name"
        raise UserError(
            f"{host}:{port}: {why}; expected a free --port, and a --host that is an address of this machine"
        ) from None
    return found


def main() -> None:
    arguments = parse_arguments()
    for package in ("starlette", "uvicorn", "python_multipart"):
        if find_spec(package) is None:
            raise UserError(f"{package} is not installed: pip install -r requirements-serve.txt")
    import uvicorn

    from src.serve.models import open_models
    from src.serve.server import Server

    listening = listen(arguments.host, arguments.port)
    application = Server(open_models(arguments.models), arguments.host).application()
    host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
    address = f"http://{host}:{arguments.port}"
    print(f"{address} (Ctrl-C ends it)", flush=True)
    if arguments.open:
        threading.Timer(1, webbrowser.open, [address]).start()
    config = uvicorn.Config(application, log_level="error", access_log=False, timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    run(main)
