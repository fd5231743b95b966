"""Carry out a plan. Steps that do not depend on each other run at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Self

from greenroom.errors import MatrixRefused, Misuse, SeedingFailed, Unreachable
from greenroom.homeserver.interface import RunningHomeserver
from greenroom.people.accounts import Account, register
from greenroom.people.matrix_api import MatrixApi, path
from greenroom.seed.blueprint import Blueprint, RoomBlueprint
from greenroom.seed.logins import accounts_of
from greenroom.seed.plan import (
    Ban,
    CreateRoom,
    Invite,
    Join,
    Leave,
    ListChild,
    Plan,
    RecordDirect,
    Register,
    Say,
    SetState,
    Step,
    make_plan,
)
from greenroom.seed.resolve import Names, child_event, create_room_body
from greenroom.seed.survey import (
    SEED_MARKER,
    ServerView,
    lists_creators,
    log_in_everybody,
    survey,
)
from greenroom.yaml_files.names import choice

START_OVER = "dev --fresh"
SIDE_BY_SIDE = 16  # Synapse uses one core; more requests at once gain little and hide which one failed


@dataclass(frozen=True)
class Seeded:
    """The outcome: all accounts, each room's id by its key, and the number of steps done."""

    people: tuple[Account, ...]
    rooms: dict[str, str]
    steps_done: int

    def account(self, name: str) -> Account:
        """Return a person's account. Raises Misuse if the blueprint has nobody of that name."""
        for account in self.people:
            if account.localpart == name:
                return account
        known = [account.localpart for account in self.people]
        raise Misuse(f"the blueprint has nobody called {name!r}{choice(name, known)}")

    def room(self, key: str) -> str:
        """Return a room's id. Raises Misuse if the blueprint has no room with that key."""
        if key not in self.rooms:
            raise Misuse(f"the blueprint has no room {key!r}{choice(key, list(self.rooms))}")
        return self.rooms[key]


class Seeder:
    """One seeding: `async with Seeder(...)`, then `plan` and `apply`. Its login sessions end with the block.

    `start_over` is the command for an empty homeserver, named if an account belongs to somebody else.
    """

    def __init__(self, server: RunningHomeserver, blueprint: Blueprint, *, start_over: str = START_OVER) -> None:
        self.server = server
        self.blueprint = blueprint
        self.people = accounts_of(blueprint, server)
        self._start_over = start_over
        self._api = MatrixApi(server.url)
        self._tokens: dict[str, str] = {}
        self._room_ids: dict[str, str] = {}
        self._default_version = ""  # of rooms; asked for once, if needed
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._api)
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await asyncio.gather(*(self._api.log_out(token) for token in self._tokens.values()), return_exceptions=True)
        finally:
            await self._stack.aclose()

    async def survey(self) -> ServerView:
        """Read the server's present state. This changes nothing: its login sessions are closed again."""
        if not self._tokens:
            self._tokens = await log_in_everybody(self._api, self.people, self.blueprint.name, self._start_over)
        view = await survey(self._api, self.blueprint, self.server.server_name, self._tokens)
        self._room_ids = {key: room.room_id for key, room in view.rooms.items()}
        return view

    async def plan(self) -> Plan:
        """Survey the server, and return the plan."""
        return make_plan(self.blueprint, await self.survey(), self.server.server_name)

    async def apply(
        self,
        plan: Plan,
        *,
        on_step: Callable[[Step], None] = lambda step: None,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
        side_by_side: int = SIDE_BY_SIDE,
    ) -> Seeded:
        """Carry out a plan made from this seeder's survey. If it is interrupted, the next run completes it.

        `on_step` gets each step that is done, `on_progress` the number of those done and of all. Raises the first
        failure, of a step or of a callback, after the steps already begun have ended. The homeserver would carry them
        out anyway, and a survey before that would miss their results.
        """
        done = 0

        def note(step: Step) -> None:
            nonlocal done
            done += 1
            on_step(step)
            on_progress(done, len(plan.steps))

        for wave in plan.waves():
            await self._carry_out(wave, note, asyncio.Semaphore(side_by_side))
        return Seeded(self.people, dict(self._room_ids), len(plan.steps))

    async def _carry_out(
        self, wave: list[list[Step]], on_step: Callable[[Step], None], gate: asyncio.Semaphore
    ) -> None:
        failures: list[Exception] = []

        async def walk(lane: list[Step]) -> None:
            for step in lane:
                async with gate:
                    if failures:
                        return
                    try:
                        await self._do(step)
                        on_step(step)
                    except (MatrixRefused, Unreachable) as error:
                        failures.append(SeedingFailed(self.blueprint.name, str(step), error))
                    except Exception as error:
                        failures.append(error)

        async with asyncio.TaskGroup() as lanes:
            for lane in wave:
                lanes.create_task(walk(lane))
        if failures:
            raise failures[0]  # the later ones usually have the same cause

    def password(self, name: str) -> str:
        """Return a person's password: the blueprint's, or else the one derived from the server's secret."""
        return next(account.password for account in self.people if account.localpart == name)

    @property
    def _names(self) -> Names:
        return Names(self.server.server_name, self._room_ids)

    async def _do(self, step: Step) -> None:
        doers: dict[type[Any], Callable[[Any], Awaitable[None]]] = {
            Register: self._register,
            CreateRoom: self._create_room,
            SetState: self._set_state,
            ListChild: self._list_child,
            Invite: self._invite,
            Join: self._join,
            Leave: self._leave,
            Ban: self._ban,
            RecordDirect: self._record_direct,
            Say: self._say,
        }
        await doers[type(step)](step)

    async def _register(self, step: Register) -> None:
        person = next(p for p in self.blueprint.people if p.name == step.person)
        shown = person.displayname or step.person
        account = await register(self.server, step.person, self.password(step.person), displayname=shown, api=self._api)
        self._tokens[step.person] = account.access_token

    async def _create_room(self, step: CreateRoom) -> None:
        room = self.blueprint.room(step.key)
        lists = bool(room.power_levels.users) and lists_creators(await self._version(room, step.creator))
        body = create_room_body(self.blueprint, room, self._names, list(step.children), lists_creator=lists)
        answer = await self._as(step.creator, "POST", path("createRoom"), body)
        self._room_ids[step.key] = answer["room_id"]

    async def _version(self, room: RoomBlueprint, creator: str) -> str:
        if room.room_version is None and not self._default_version:
            self._default_version = await self._api.default_room_version(self._tokens[creator])
        return room.room_version or self._default_version

    async def _set_state(self, step: SetState) -> None:
        await self._put_state(step.key, step.sender, self._names.fill(step.event))

    async def _list_child(self, step: ListChild) -> None:
        await self._put_state(step.key, step.creator, child_event(self._names, step.child))

    async def _put_state(self, key: str, sender: str, event: dict[str, Any]) -> None:
        where = path("rooms", self._names.room(key), "state", event["type"], event["state_key"])
        await self._as(sender, "PUT", where, event["content"])

    async def _invite(self, step: Invite) -> None:
        if step.unban:
            await self._about(step.creator, step.key, "unban", step.person)
        await self._about(step.creator, step.key, "invite", step.person)

    async def _join(self, step: Join) -> None:
        if step.unban:
            await self._about(step.creator, step.key, "unban", step.person)
        if step.invite:
            await self._about(step.creator, step.key, "invite", step.person)
        await self._as(step.person, "POST", path("rooms", self._names.room(step.key), "join"), {})

    async def _leave(self, step: Leave) -> None:
        await self._as(step.person, "POST", path("rooms", self._names.room(step.key), "leave"), {})

    async def _ban(self, step: Ban) -> None:
        await self._about(step.creator, step.key, "ban", step.person)

    async def _about(self, sender: str, key: str, action: str, person: str) -> None:
        """Invite, ban or unban a person."""
        where = path("rooms", self._names.room(key), action)
        await self._as(sender, "POST", where, {"user_id": self._names.user(person)})

    async def _record_direct(self, step: RecordDirect) -> None:
        user_id, token = self._names.user(step.person), self._tokens[step.person]
        for other, key in step.rooms:
            await self._api.add_direct(user_id, self._names.user(other), self._names.room(key), token)

    async def _say(self, step: Say) -> None:
        room_id, messages = self._names.room(step.key), self.blueprint.room(step.key).messages
        for index in step.indexes:
            message = messages[index]
            content = {
                "msgtype": message.msgtype,
                "body": self._names.fill(message.body),
                SEED_MARKER: {"blueprint": self.blueprint.name, "index": index},
            }
            transaction = f"seed-{self.blueprint.name}-{step.key}-{index}"
            where = path("rooms", room_id, "send", "m.room.message", transaction)
            await self._as(message.sender, "PUT", where, content)

    async def _as(self, person: str, method: str, request_path: str, body: Any) -> Any:
        return await self._api.call(method, request_path, token=self._tokens[person], json=body)


async def seed(
    server: RunningHomeserver,
    blueprint: Blueprint,
    *,
    on_step: Callable[[Step], None] = lambda step: None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    side_by_side: int = SIDE_BY_SIDE,
    start_over: str = START_OVER,
) -> Seeded:
    """Make a server match a blueprint. A second run changes nothing."""
    async with Seeder(server, blueprint, start_over=start_over) as seeder:
        plan = await seeder.plan()
        return await seeder.apply(plan, on_step=on_step, on_progress=on_progress, side_by_side=side_by_side)
