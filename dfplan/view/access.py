"""Which requests the server accepts: only those of its own web app."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit


def refusal_reason(headers: Mapping[str, str], host: str) -> str:
    """Return why a request is refused, or an empty string if it is accepted.

    The server listens on ``host``. Names of headers are in lower case.
    """
    requested = headers.get("host", "")
    try:
        name = urlsplit(f"//{requested}").hostname or ""
    except ValueError:
        name = ""
    address = _parse_address(name)
    is_own = address is not None and (address.is_loopback or not is_loopback(host))
    if not (is_own or name in ("localhost", host.lower().strip("[]"))):
        return f"Expected this server's own address; got the host {requested[:80]!r}."
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{requested}":
        return f"Expected a request from this server's web app; got the origin {origin[:80]!r}."
    cross_site = headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
    # Following a link from another site is allowed.
    if cross_site and headers.get("sec-fetch-mode") != "navigate":
        return "Expected a request from this server's web app; got one from another site."
    return ""


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, under an address or name that others cannot use."""
    address = _parse_address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _parse_address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return None
