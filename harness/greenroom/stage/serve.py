"""Serve the stage from the event loop that runs already, on a port of loopback that the system chooses."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from fastapi import FastAPI
from nicegui import ui

from greenroom.errors import HarnessError
from greenroom.stage.guard import Guard

CLOSING_S = 1  # open pages hold a connection for as long as they live


class QuietServer(uvicorn.Server):
    """A server that leaves the signals of the process to its owner."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing: `dev` handles Ctrl-C."""
        yield


@asynccontextmanager
async def serving(build: Callable[[], None], note_address: Callable[[str], None]) -> AsyncIterator[Guard]:
    """Serve the page that `build` makes, anew for each browser, for the length of an `async with`.

    It can be served once in a process, as NiceGUI keeps its state in its modules. Raises HarnessError if it does not
    start.
    """
    listening = socket.create_server(("127.0.0.1", 0))
    base = f"/stage-{secrets.token_urlsafe(16)}"
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    ui.page("/", title="Greenroom: the stage")(build)
    ui.run_with(app, mount_path=base, dark=None, show_welcome_message=False, reconnect_timeout=10.0)
    guard = Guard(app, port=listening.getsockname()[1], base=base, note_address=note_address)
    config = uvicorn.Config(
        guard,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=CLOSING_S,
    )
    server = QuietServer(config)
    task = asyncio.ensure_future(server.serve(sockets=[listening]))
    try:
        while not server.started:
            if task.done():
                raise HarnessError(f"the stage did not start: {task.exception() or 'its server ended'}")
            await asyncio.sleep(0.02)
        yield guard
    finally:
        server.should_exit = True
        await asyncio.gather(task, return_exceptions=True)
        listening.close()
