"""Ray kept from strangers: whoever can talk to a Ray cluster can run code on its machines.

To be called before Ray is imported: Ray reads these variables when it is loaded, and hands them to all of its
processes.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

from src.runtime.errors import UserError

# Asks a cluster for its nodes, without a token.
STRANGER = "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1]).get_all_node_info()"
TOKEN_FILE = Path(".ray/auth_token")


def protect_ray(address: str | None) -> None:
    """Require a token of everybody who talks to Ray, whatever `RAY_AUTH_MODE` says.

    Ray on this machine alone (no `address`) gets a token of its own, and listens on the loopback interface
    only; a cluster has its token from whoever started it.

    Raises:
        UserError: `address` cannot be used, or this machine has no token.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # no usage statistics over the network
    os.environ["RAY_AUTH_MODE"] = "token"
    if address is None:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        # Ray's own default on macOS and Windows, so as not to ask for the firewall to be opened: 127.0.0.1.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        return
    if "://" in address:
        raise UserError(
            f"--address: {address} is invalid; expected HOST:PORT, as `ray start --head` prints it"
        )
    paths = [os.environ.get("RAY_AUTH_TOKEN_PATH"), Path.home() / TOKEN_FILE]
    if not os.environ.get("RAY_AUTH_TOKEN") and not any(path and Path(path).is_file() for path in paths):
        raise UserError(
            f"--address: no token for the cluster at {address}; expected a copy of ~/{TOKEN_FILE} of its "
            "head node, which `ray get-auth-token --generate` makes there"
        )


def refuse_open_cluster(address: str) -> None:
    """Raise a `UserError` where a cluster answers without a token.

    Args:
        address: host and port of its control service.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH_TOKEN")}
    asked = subprocess.run(
        (sys.executable, "-c", STRANGER, address),
        env=environment | {"RAY_AUTH_MODE": "disabled"},
        capture_output=True,
        check=False,
    )
    if not asked.returncode:
        raise UserError(
            f"--address: the cluster at {address} asks for no token: whoever reaches it can run code on its "
            "machines; expected one that was started with RAY_AUTH_MODE=token"
        )
