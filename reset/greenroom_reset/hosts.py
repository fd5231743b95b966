"""Which homeservers a development tool may write to without further confirmation."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from urllib.parse import urlsplit

from greenroom_reset.errors import Refused


def check_host(homeserver: str, known: str | None) -> None:
    """Raise Refused unless the URL points at this machine, or `known` names exactly its host.

    A tunnel to a far server looks like this machine too. The plan and the question remain as protection there.
    """
    try:
        parts = urlsplit(homeserver)
        host, _ = (parts.hostname or "").lower(), parts.port
    except ValueError as error:
        raise Refused(f"MATRIX_HOMESERVER is not a usable URL: {homeserver!r} ({error})") from error
    if parts.username is not None or parts.password is not None:
        raise Refused("MATRIX_HOMESERVER holds a user name or a password; they belong in settings of their own")
    if known is not None and known.lower().strip("[]") != host:
        raise Refused(f"--i-know-this-is names {known!r}, but MATRIX_HOMESERVER is on {host!r}")
    if known is None and not is_loopback(host):
        raise Refused(
            f"{homeserver} is not on this machine; if it really is a development server, add --i-know-this-is {host}"
        )


def is_loopback(host: str) -> bool:
    """Return whether a host is in 127.0.0.0/8, `::1`, or `localhost` resolving to nothing but those."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        if host != "localhost":  # any other name may point elsewhere tomorrow
            return False
    try:
        found = {str(info[4][0]).partition("%")[0] for info in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return bool(found) and all(ip_address(address).is_loopback for address in found)
