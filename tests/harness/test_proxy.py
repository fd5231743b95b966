"""The fault proxy without a homeserver."""

from __future__ import annotations

import gc
import socket
import threading
import time
import warnings
from types import SimpleNamespace
from urllib.parse import urlsplit

from greenroom.faults import FaultProxy

REQUEST = b"GET /_matrix/client/versions HTTP/1.1\r\nHost: proxy\r\n\r\n"
CLIENTS, FLOOD_S, ROUNDS = 4, 0.05, 7


def connect_until_refused(url: str) -> None:
    """Open connections with a request on each, as fast as possible, until the proxy accepts no more."""
    port = urlsplit(url).port
    opened: list[socket.socket] = []
    try:
        while True:
            client = socket.create_connection(("127.0.0.1", port), timeout=1)
            opened.append(client)
            client.sendall(REQUEST)
    except OSError:
        for client in opened:
            client.close()


def test_a_proxy_that_closes_leaves_no_connection_open():
    """A connection may be accepted in the moment in which the proxy closes."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for _ in range(ROUNDS):
            proxy = FaultProxy(SimpleNamespace(server_name="greenroom.test", url="http://127.0.0.1:9"))
            proxy.start()
            clients = [threading.Thread(target=connect_until_refused, args=(proxy.url,)) for _ in range(CLIENTS)]
            for client in clients:
                client.start()
            time.sleep(FLOOD_S)
            proxy.close()
            for client in clients:
                client.join()
            del proxy
            gc.collect()
    assert [str(each.message) for each in warned if each.category is ResourceWarning] == []
