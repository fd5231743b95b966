"""Ports for homeservers that are to be stopped and started again at the same URL."""

from __future__ import annotations

import random
import socket
from contextlib import suppress

LOOPBACK = "127.0.0.1"
# Below the ports that kernels hand out by themselves (from 32768 on), so that nobody takes ours by chance while the
# server is down; and above the well-known ones.
PORTS = range(20_000, 32_000)
PORT_TRIES = 8


def free_port() -> int:
    """Suggest a port. Whoever binds it has the last word, and asks for another one if it was taken meanwhile."""
    choose = random.SystemRandom()
    for _ in range(50):
        port = choose.choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((LOOPBACK, port))
            return port
    return choose.choice(PORTS)
