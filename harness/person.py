"""A test person: somebody with a Matrix client, driving matrix-nio directly.

Not through the bot's own wrapper: a bug there would otherwise hide from the tests that should find it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

import nio

from harness.accounts import Account
from harness.acts import Acts, expect
from harness.checks import SeenCheck
from harness.homeserver.interface import RunningHomeserver
from harness.seen import Seen
from harness.waiting import DEFAULT_TIMEOUT_S, Alive, NotYet, Reasons, scaled

T = TypeVar("T")
SYNC_TIMEOUT_MS = 1000  # how long one long-poll may be silent; events end it early
WATCH_EVERY_S = 0.1
SYNC_FILTER = {"room": {"timeline": {"limit": 100}}, "presence": {"not_types": ["*"]}}


class Person(Acts):
    """Somebody logged in on one device, with a sync position that only moves forward.

    Nothing syncs in the background: what a person has seen changes in `until` and `sync` only. Belongs to the event
    loop it was made on.
    """

    def __init__(self, server: RunningHomeserver, account: Account, store: Path | None = None) -> None:
        """Prepare; use `person_on` to get a usable one. With a `store` folder the person can read encrypted rooms."""
        if store is not None:
            store.mkdir(parents=True, exist_ok=True)
        self.server = server
        self.account = account
        self.seen = Seen(account.user_id)
        self.since: str | None = None
        config = nio.AsyncClientConfig(
            encryption_enabled=store is not None,
            store_sync_tokens=False,  # the position is ours
            max_limit_exceeded=20,
            request_timeout=60,
        )
        self.client = nio.AsyncClient(
            server.url, account.user_id, store_path=str(store) if store else None, config=config
        )

    @property
    def user_id(self) -> str:
        """Their Matrix id."""
        return self.account.user_id

    def __repr__(self) -> str:
        return f"<Person {self.user_id}>"

    async def log_in(self) -> None:
        """Use the session that registration gave, or log in with the password."""
        if self.account.access_token:
            self.client.restore_login(self.user_id, self.account.device_id, self.account.access_token)
        else:
            expect(await self.client.login(self.account.password, device_name="Greenroom person"), nio.LoginResponse)
        if self.client.should_upload_keys:
            expect(await self.client.keys_upload(), nio.KeysUploadResponse)

    async def close(self) -> None:
        """Close the connections; the account and its rooms stay."""
        await self.client.close()

    # -- seeing

    async def sync(self, timeout_ms: int = 0) -> None:
        """Take one sync from the kept position."""
        self.client.next_batch = self.since or ""
        response = expect(
            await self.client.sync(timeout_ms, sync_filter=SYNC_FILTER, since=self.since), nio.SyncResponse
        )
        self.since = response.next_batch
        self.seen.take(response)
        if self.client.olm:
            await self._keep_keys()

    async def _keep_keys(self) -> None:
        await self.client.send_to_device_messages()
        if self.client.should_upload_keys:
            await self.client.keys_upload()
        if self.client.should_query_keys:
            await self.client.keys_query()
        if self.client.should_claim_keys:
            await self.client.keys_claim(self.client.get_users_for_key_claiming())

    async def until(
        self,
        check: SeenCheck[T] | Callable[[Seen], T | NotYet],
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        watch: Iterable[Alive] = (),
    ) -> T:
        """Sync until `check` of what was seen holds; give what it gives.

        What was seen before counts, so note an event id first (`after=`) where only news should. The homeserver and all
        in `watch` are asked often, and the wait ends with their error when one of them is gone. Raises NotMet.
        """
        __tracebackhide__ = True
        watched = (self.server, *watch)
        reasons = Reasons(time.monotonic)
        limit_s = scaled(timeout_s)
        what = check.what if isinstance(check, SeenCheck) else (check.__doc__ or check.__name__)
        while True:
            outcome = check(self.seen)
            if not isinstance(outcome, NotYet):
                return outcome
            reasons.add(outcome.reason)
            remaining_s = limit_s - reasons.elapsed_s()
            if remaining_s <= 0:
                raise reasons.not_met(f"{self.account.localpart} to see {what}", watched)
            await self._sync_while_alive(watched, min(remaining_s + 0.1, SYNC_TIMEOUT_MS / 1000), reasons)

    async def _sync_while_alive(self, watched: Sequence[Alive], limit_s: float, reasons: Reasons) -> None:
        __tracebackhide__ = True
        # nio retries a lost connection without end, so the sync runs beside the watch and is cut off with it.
        task = asyncio.ensure_future(self.sync(int(limit_s * 1000)))
        deadline = time.monotonic() + limit_s + scaled(5.0)  # a silent server answers a long-poll late, not never
        try:
            while not task.done():
                for alive in watched:
                    alive.check_alive()
                if time.monotonic() > deadline:
                    reasons.add("the homeserver does not answer /sync")
                    return
                await asyncio.wait({task}, timeout=WATCH_EVERY_S)
        finally:
            if not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        await task

    async def join_invites(self) -> list[str]:
        """Sync once, accept every open invite, and give the room ids."""
        await self.sync()
        pending = sorted(self.seen.invited)
        for room_id in pending:
            await self.join(room_id)
        return pending


@asynccontextmanager
async def person_on(server: RunningHomeserver, account: Account, *, store: Path | None = None) -> AsyncIterator[Person]:
    """Log somebody in for the length of an `async with`."""
    person = Person(server, account, store)
    try:
        await person.log_in()
        yield person
    finally:
        await person.close()
