"""The other direction: a proxy in front of an application service, for what its homeserver sends to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from greenroom.faults.brought import delivered_by, is_transaction
from greenroom.faults.proxy import Proxy
from greenroom.faults.transcript import Entry, Transcript
from greenroom.faults.users import Whose


class Deliveries(Proxy):
    """A running proxy in front of an application service. Its `url` is the one in the registration.

    All faults of FaultProxy work here too: `times`, `path` and the others choose among the homeserver's requests, for
    example `deliveries.drop_response(path="/transactions/")`. They have no user. While the service is down, the
    homeserver gets no answer.
    """

    def __init__(self, user_id: str, service_url: str, *, seed: int = 0, transcript: Transcript | None = None) -> None:
        super().__init__(seed=seed, transcript=transcript)
        self.user_id = user_id  # the service's own account
        self.service_url = service_url
        self._contents: dict[str, list[tuple[str, ...]]] = {}  # of the transactions with one id: their events

    @property
    def behind(self) -> str:
        """The service's URL."""
        return self.service_url

    async def _identify(self, http: web.Request, query: str, body: bytes, entry: Entry) -> Whose:
        entry.to = self.user_id
        return Whose()

    def _path_behind(self, http: web.Request, body: bytes, entry: Entry) -> str:
        """Return the path of a transaction with an id that no other transaction has had.

        Synapse with SQLite counts transactions from 1 again after a restart, and a service that heeds the ids would
        take a new transaction for an old one: get_max_as_txn_id in synapse/storage/databases/main/appservice.py finds
        no transaction, because those that were sent are deleted. With PostgreSQL it counts on.
        """
        path = http.rel_url.raw_path
        if not is_transaction(path):
            return path
        events, known = delivered_by(body), self._contents.setdefault(path, [])
        if events not in known:
            known.append(events)
        if number := known.index(events):
            path = f"{path}.{number}"
            entry.note = f"sent on as {path.rpartition('/')[2]}: the homeserver has used this id before"
        return path


@asynccontextmanager
async def deliveries(
    user_id: str, service_url: str, *, transcript: Transcript | None = None
) -> AsyncIterator[Deliveries]:
    """Run a proxy in front of an application service, whose account is `user_id`, for the length of an `async with`."""
    proxy = Deliveries(user_id, service_url, transcript=transcript)
    try:
        proxy.start()
        yield proxy
    finally:
        proxy.close()
