"""A small matrix-nio bot that keeps its promises. Each bad bot of this folder is this bot with one fault.

The bot joins rooms that its owner (BOT_OWNER) invites it to, and answers `!echo WORD` with WORD. Its state is one JSON
file: the session, the sync position (saved after each handled sync) and the questions that it has answered.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sys
from pathlib import Path

import aiohttp
import nio

STATE = Path(os.environ["MATRIX_DB_PATH"]).with_suffix(".json")
TOKEN_IS_DEAD = 4
SHORT_MS, LONG_MS = 500, 10_000  # some homeservers miss what happens while a poll begins, and tell it at its end
FAILURES = (aiohttp.ClientError, TimeoutError, nio.SendRetryError, nio.MembersSyncError, nio.GroupEncryptionError)


class Client(nio.AsyncClient):
    """matrix-nio's client for any homeserver: nio 0.26 takes too much for granted."""

    told: tuple[dict, ...] = ()

    async def join(self, room_id: str) -> nio.Response:
        """Join a room with a body: the specification wants one, and nio sends none."""
        return await self._send(nio.JoinResponse, *nio.Api.join(self.access_token, room_id), "{}")

    async def parse_body(self, transport_response: aiohttp.ClientResponse) -> dict:
        """Return a body; that of a sync with what a homeserver may leave out, and without what it told just before."""
        body = await super().parse_body(transport_response)
        if transport_response.url.path.endswith("/sync") and "next_batch" in body:
            messages = body.get("to_device", {}).get("events", [])
            messages[:], self.told = [one for one in messages if one not in self.told], tuple(messages)
            rooms = body.get("rooms", {})
            for room in rooms.get("leave", {}).values():
                room.setdefault("state", {"events": []})  # without it nio raises
            for room_id, room in rooms.get("join", {}).items():
                told = room.get("state", {}).get("events", []) + room.get("timeline", {}).get("events", [])
                if room_id not in self.rooms and all(event["type"] != "m.room.create" for event in told):
                    state = await self.room_get_state(room_id)
                    room["state"] = {"events": getattr(state, "events", [])}
        return body


class Bot:
    """The good bot. A bad bot overrides a method."""

    def __init__(self) -> None:
        config = nio.AsyncClientConfig(max_timeouts=3, request_timeout=20)
        self.client = Client(os.environ["MATRIX_HOMESERVER"], os.environ["MATRIX_USER_ID"], config=config)
        self.wait_ms = SHORT_MS
        self.state = {"since": None, "handled": []}
        if STATE.exists():
            self.state = json.loads(STATE.read_text())

    def save(self) -> None:
        draft = STATE.with_suffix(".new")
        draft.write_text(json.dumps(self.state))
        draft.replace(STATE)

    async def log_in(self) -> None:
        session = self.state.get("session")
        if session:
            self.client.restore_login(**session)
            return
        answer = await self.client.login(os.environ["MATRIX_PASSWORD"], device_name="bot")
        if not isinstance(answer, nio.LoginResponse):
            sys.exit(f"cannot log in: {answer}")
        self.state["session"] = {
            "user_id": answer.user_id,
            "device_id": answer.device_id,
            "access_token": answer.access_token,
        }
        self.save()

    async def run(self) -> None:
        await self.log_in()
        failures = 0
        while True:
            response = await self.sync()
            if not isinstance(response, nio.SyncResponse):
                failures += 1
                await self.failed_sync(response, failures)
                continue
            failures = 0
            self.wait_ms = SHORT_MS if response.rooms.join else min(2 * self.wait_ms, LONG_MS)
            await self.handle(response)
            self.state["since"] = response.next_batch
            self.save()

    async def sync(self) -> nio.Response | Exception:
        self.client.next_batch = ""  # the state file holds the position
        try:
            return await self.client.sync(timeout=self.wait_ms, since=self.state["since"])
        except (aiohttp.ClientError, TimeoutError) as error:
            return error

    async def failed_sync(self, response: object, failures: int) -> None:
        print(f"sync failed: {response!r}")
        if getattr(response, "status_code", "") == "M_UNKNOWN_TOKEN":
            sys.exit(TOKEN_IS_DEAD)
        await asyncio.sleep(min(0.2 * 2**failures, 5))

    async def handle(self, response: nio.SyncResponse) -> None:
        for room_id, info in response.rooms.invite.items():
            await self.invited(room_id, info)
        for room_id, info in response.rooms.leave.items():
            await self.left(room_id, info)
        for room_id, info in response.rooms.join.items():
            for event in info.timeline.events if self.is_live() else ():
                if isinstance(event, nio.RoomMessageText) and event.sender != self.client.user_id:
                    await self.said(room_id, event)

    def is_live(self) -> bool:
        """Return whether to answer: messages from before the very first start get no answer."""
        return self.state["since"] is not None

    async def invited(self, room_id: str, info: nio.InviteInfo) -> None:
        by = next((e.sender for e in info.invite_state if getattr(e, "state_key", "") == self.client.user_id), None)
        await (self.client.join(room_id) if by == os.environ.get("BOT_OWNER") else self.client.room_leave(room_id))

    async def left(self, room_id: str, info: nio.RoomInfo) -> None:
        print(f"no longer in {room_id}")

    async def said(self, room_id: str, event: nio.RoomMessageText) -> None:
        if event.event_id in self.state["handled"] or not event.body.startswith("!echo "):
            return
        await self.answer(room_id, event, event.body.removeprefix("!echo "))
        self.state["handled"] = [*self.state["handled"][-200:], event.event_id]
        self.save()

    def transaction_id(self, event: nio.RoomMessageText) -> str:
        """Return one id for all attempts to answer an event, so that the homeserver drops repeats."""
        return hashlib.sha256(event.event_id.encode()).hexdigest()[:32]

    async def answer(self, room_id: str, event: nio.RoomMessageText, text: str) -> None:
        await self.send(room_id, "m.room.message", {"msgtype": "m.notice", "body": text}, self.transaction_id(event))

    async def send(self, room_id: str, kind: str, content: dict, tx_id: str) -> str | None:
        """Send an event, and try again when that fails. Return its id, or None if the room is closed to the bot."""
        for attempt in range(8):
            try:
                answer = await self.put(room_id, kind, content, tx_id)
            except FAILURES as error:
                answer = error
            if isinstance(answer, nio.RoomSendResponse):
                return answer.event_id
            code = getattr(answer, "status_code", "")
            print(f"cannot answer in {room_id}: {answer!r}")
            if code == "M_UNKNOWN_TOKEN":
                sys.exit(TOKEN_IS_DEAD)
            if code == "M_FORBIDDEN":  # kicked meanwhile
                return None
            await asyncio.sleep(0.2 * 2**attempt)
        return None

    async def put(self, room_id: str, kind: str, content: dict, tx_id: str) -> nio.Response:
        return await self.client.room_send(room_id, kind, content, tx_id=tx_id)


async def main(bot_class: type[Bot] = Bot) -> None:
    bot = bot_class()
    running = asyncio.ensure_future(bot.run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    try:
        await running
    except asyncio.CancelledError:
        pass
    finally:
        await bot.client.close()


if __name__ == "__main__":
    asyncio.run(main())
