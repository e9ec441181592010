"""Ray kept from strangers: whoever can talk to a Ray cluster can run code on its machines.

`protect_ray` is to be called before Ray is imported: Ray reads these variables when it is loaded, and hands
them to all of its processes.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from src.runtime.errors import UserError, reason

# Asks a cluster for its nodes.
QUESTION = "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1]).get_all_node_info()"
TOKEN_FILE = Path(".ray/auth_token")
EXPECTED = "expected HOST:PORT, as `ray start --head --port=6379` prints it"
SECONDS_TO_CONNECT = 5
SECONDS_TO_ANSWER = 60


def protect_ray(address: str | None) -> None:
    """Require a token of everybody who talks to Ray, whatever `RAY_AUTH_MODE` says.

    Ray on this machine alone (no `address`) gets a token of its own, and listens on the loopback interface
    only; a cluster has its token from whoever started it.

    Raises:
        UserError: Ray is not installed, there is no cluster at `address`, it answers without a token, this
            machine has none, or another one than the cluster's.
    """
    if find_spec("ray") is None:
        raise UserError("ray is not installed: pip install -r requirements-tune.txt")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # no usage statistics over the network
    os.environ["RAY_AUTH_MODE"] = "token"
    if address is None:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        # Ray's own default on macOS and Windows, so as not to ask for the firewall to be opened: 127.0.0.1.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        return
    _refuse_unreachable(address)
    _refuse_open(address)
    _refuse_wrong_token(address)


def _refuse_unreachable(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or "/" in address or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UserError(f"--address: {address!r} is invalid; {EXPECTED}")
    try:
        socket.create_connection((host, int(port)), timeout=SECONDS_TO_CONNECT).close()
    except OSError as error:
        why = error.strerror or reason(error)
        raise UserError(f"--address: no Ray cluster at {address} ({why}); {EXPECTED}") from None


def _refuse_open(address: str) -> None:
    # With this mode Ray sends no token, and looks for none in the home directory.
    without = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH_TOKEN")}
    if _answers(address, without | {"RAY_AUTH_MODE": "disabled"}):
        raise UserError(
            f"--address: the cluster at {address} asks for no token: whoever reaches it can run code on its "
            "machines; expected one that was started with RAY_AUTH_MODE=token"
        )


def _refuse_wrong_token(address: str) -> None:
    paths = [os.environ.get("RAY_AUTH_TOKEN_PATH"), Path.home() / TOKEN_FILE]
    if not os.environ.get("RAY_AUTH_TOKEN") and not any(path and Path(path).is_file() for path in paths):
        raise UserError(
            f"--address: no token for the cluster at {address}; expected a copy of ~/{TOKEN_FILE} of its "
            "head node, which `ray get-auth-token --generate` makes there"
        )
    if not _answers(address, dict(os.environ)):
        raise UserError(
            f"--address: no Ray cluster at {address} takes the token of this machine; expected a copy of "
            f"~/{TOKEN_FILE} of its head node, and RAY_AUTH_TOKEN unset"
        )


def _answers(address: str, environment: dict[str, str]) -> bool:
    """Whether a cluster lists its nodes to a client with these environment variables."""
    try:
        asked = subprocess.run(
            (sys.executable, "-c", QUESTION, address),
            env=environment,
            capture_output=True,
            check=False,
            timeout=SECONDS_TO_ANSWER,
        )
    except subprocess.TimeoutExpired:
        return False
    return not asked.returncode
