"""Who may ask, and how much: against other sites' pages, and against large bodies."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from urllib.parse import SplitResult, urlsplit

from starlette.requests import Request

from src.runtime.errors import UserError

MAX_BODY = 16 * 1024 * 1024
# Of a larger one, what is read before it is refused.
MAX_DISCARDED = 4 * MAX_BODY
# A page may load nothing that is not its own, and run no script but its file.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class RefusedError(UserError):
    """A request that is not answered.

    Args:
        status: of HTTP.
        why: in a line.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


def refuse_foreign(request: Request, bound_to: str) -> None:
    """Raise a `RefusedError` where another site's page asks, by its own name or by a name made to point here.

    Args:
        request: of a browser or another program.
        bound_to: the address that the server listens on.
    """
    host = request.headers.get("host", "")
    if not _is_own(_parts(f"//{host}").hostname or "", bound_to):
        raise RefusedError(
            421, f"Host: {host!r} is not this server; expected its address, or the name given as --host"
        )
    origin = request.headers.get("origin")
    if origin is not None and _parts(origin).netloc != host:
        raise RefusedError(403, f"Origin: {origin!r} is another site")


def _parts(address: str) -> SplitResult:
    try:
        return urlsplit(address)
    except ValueError:  # half an IPv6 address
        return urlsplit("")


def _is_own(name: str, bound_to: str) -> bool:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:  # a name, which whoever owns it can let point anywhere
        own = set() if is_loopback(bound_to) else {socket.gethostname().lower()}
        return name in {"localhost", bound_to.lower(), *own}
    return address.is_loopback or not is_loopback(bound_to)


def is_loopback(address: str) -> bool:
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


async def read_body(request: Request) -> bytes:
    """The body of a request.

    Raises:
        RefusedError: it is larger than `MAX_BODY`.
    """
    body, stream = bytearray(), request.stream()
    is_too_large = int(request.headers.get("content-length") or 0) > MAX_BODY
    if not is_too_large:
        async for chunk in stream:
            body += chunk
            is_too_large = len(body) > MAX_BODY
            if is_too_large:
                break
    if is_too_large:
        if "expect" not in request.headers:
            await _discard(stream)
        raise RefusedError(413, f"the body is larger than {MAX_BODY:,} bytes")
    return bytes(body)


async def _discard(stream: AsyncIterator[bytes]) -> None:
    """Read on for a second at most: many clients send a whole body before they read the answer."""
    size = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            async for chunk in stream:
                size += len(chunk)
                if size > MAX_DISCARDED:
                    return
