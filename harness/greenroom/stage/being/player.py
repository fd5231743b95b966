"""A person that somebody plays on the page: logged in on a device of its own, syncing all the time.

Each act that the homeserver accepts is written into the script.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import aiohttp
import nio

from greenroom.errors import HarnessError, MatrixRefused, Misuse
from greenroom.people.person import Person
from greenroom.people.seen import SeenEvent
from greenroom.stage.script import PersonStep, Quoted, Script

T = TypeVar("T")
POLL_MS = 1000  # some homeservers tell only at the end of a poll what happened at its beginning
ANSWER_S = 4.0  # a poll that takes longer gets no answer
ACT_S = 15.0  # matrix-nio repeats a request for ever while nothing answers
RETRY_S = 0.3
LOST = ("M_UNKNOWN_TOKEN", "M_MISSING_TOKEN", "M_USER_DEACTIVATED")  # this login is no more
log = logging.getLogger(__name__)


class NoAnswer(HarnessError):
    """The homeserver gave no answer. An act may have happened or not."""


def in_background(work: Coroutine[Any, Any, None], what: str) -> asyncio.Task[None]:
    """Run work in the background, and log its failure. The caller keeps the task and cancels it."""

    def done(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            log.error("%s failed", what, exc_info=error)

    task = asyncio.create_task(work, name=what)
    task.add_done_callback(done)
    return task


async def carried_out(act: Awaitable[T], limit_s: float = ACT_S) -> T:
    """Return the result of an act. Raises HarnessError with one line for a person, whatever went wrong."""
    try:
        return await asyncio.wait_for(act, limit_s)
    except TimeoutError:
        raise NoAnswer("the homeserver does not answer") from None
    except (aiohttp.ClientError, OSError) as error:
        raise NoAnswer(f"the homeserver does not answer: {error}") from None
    except nio.ProtocolError as error:
        raise HarnessError(f"matrix-nio refused it: {error}") from None


class Player:
    """A person on the page. `revision` grows when there is something new to show; `problem` says why nothing comes."""

    def __init__(self, person: Person, script: Script, *, noticed: Callable[[], None]) -> None:
        self.person = person
        self.script = script
        self.revision = 0
        self.problem = ""
        self.is_over = False  # the login was ended by the homeserver
        self.mark: str | None = None  # the last event before the login
        self.acting = 0
        self._read: int | None = None  # of the timeline, by `new_events`
        self._noticed = noticed
        self._task: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """The localpart."""
        return self.person.account.localpart

    @property
    def user_id(self) -> str:
        """The Matrix id."""
        return self.person.user_id

    def whole_id(self, name: str) -> str:
        """Return the Matrix id of what somebody typed: an id, or a localpart on this homeserver. Raises Misuse."""
        name = name.strip()
        if not name:
            raise Misuse("say who: a name such as carol, or a whole id such as @carol:greenroom.test")
        return name if name.startswith("@") else f"@{name}:{self.person.server.server_name}"

    async def begin(self) -> None:
        """Sync once, and from then on in the background."""
        await carried_out(self.person.sync())
        timeline = self.person.seen.timeline
        self.mark = timeline[-1].event_id if timeline else None
        self.revision += 1
        self._task = in_background(self._keep_syncing(), f"the sync of {self.name}")

    async def end(self) -> None:
        """Stop syncing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def lose(self, why: str) -> None:
        """Note that the login is over."""
        self.problem, self.is_over = why, True
        self.revision += 1
        if self._task is not None:
            self._task.cancel()

    def new_events(self) -> list[SeenEvent]:
        """Return what came after the login and was not returned before."""
        timeline = self.person.seen.timeline
        if self._read is None:
            at = next((n for n, event in enumerate(timeline) if event.event_id == self.mark), -1)
            self._read = at + 1
        new, self._read = timeline[self._read :], len(timeline)
        return new

    # -- seeing

    async def _keep_syncing(self) -> None:
        while not self.is_over:
            before = self._seen_so_far()
            try:
                await carried_out(self.person.sync(POLL_MS), POLL_MS / 1000 + ANSWER_S)
            except MatrixRefused as refused:
                if refused.errcode in LOST:
                    self.lose("the homeserver has ended this login; log in again")
                else:
                    await self._trouble(str(refused))
                continue
            except HarnessError as error:
                await self._trouble(str(error))
                continue
            if self.problem or self._seen_so_far() != before:
                self.problem = ""
                self.revision += 1
                self._noticed()

    async def _trouble(self, problem: str) -> None:
        if problem != self.problem:
            self.problem = problem
            self.revision += 1
        await asyncio.sleep(RETRY_S)

    def _seen_so_far(self) -> tuple[int, ...]:
        seen = self.person.seen
        return (len(seen.timeline), len(seen.sealed), len(seen.joined), len(seen.left), len(seen.invited))

    # -- acting

    async def say(self, room: str, text: str) -> None:
        """Say something in a room."""
        made = await self._sent(room, lambda: self.person.send_text(room, text))
        self._note("say", room, made=made, text=text)

    async def reply(self, room: str, about: SeenEvent, text: str) -> None:
        """Reply to a message."""
        made = await self._sent(room, lambda: self.person.reply(room, about.event_id, text))
        self._note("reply", room, about, made=made, text=text)

    async def edit(self, room: str, about: SeenEvent, text: str) -> None:
        """Edit one's own message."""
        made = await self._sent(room, lambda: self.person.edit(room, about.event_id, text))
        self._note("edit", room, about, made=made, text=text)

    async def react(self, room: str, about: SeenEvent, key: str) -> None:
        """React to a message with an emoji."""
        made = await self._sent(room, lambda: self.person.react(room, about.event_id, key))
        self._note("react", room, about, made=made, key=key)

    async def redact(self, room: str, about: SeenEvent) -> None:
        """Redact an event."""
        made = await self._do(self.person.redact(room, about.event_id))
        self._note("redact", room, about, made=made)

    async def create_direct(self, user: str, *, encrypted: bool = False) -> str:
        """Make a direct chat with somebody. Return the room id."""
        room = await self._do(self.person.create_direct(user, encrypted=encrypted))
        self._note("create direct", made=room, user=user, encrypted=encrypted)
        return room

    async def create_room(self, name: str, *, encrypted: bool = False, invite: Sequence[str] = ()) -> str:
        """Make a room. Return its id."""
        room = await self._do(self.person.create_room(name=name, encrypted=encrypted, invite=list(invite)))
        self._note("create room", made=room, name=name, encrypted=encrypted, invite=list(invite))
        return room

    async def join(self, room: str) -> None:
        """Accept an invite, or join a room."""
        invite = self._invite(room)
        await self._do(self.person.join(room))
        self._note("join", room, None, **invite)

    async def leave(self, room: str) -> None:
        """Leave a room, or decline an invite."""
        invite = self._invite(room)
        await self._do(self.person.leave(room))
        self._note("leave", room, None, **invite)

    async def invite(self, room: str, user: str) -> None:
        """Invite somebody."""
        await self._do(self.person.invite(room, user))
        self._note("invite", room, user=user)

    async def kick(self, room: str, user: str) -> None:
        """Remove somebody from a room."""
        await self._do(self.person.kick(room, user))
        self._note("kick", room, user=user)

    async def rename(self, room: str, name: str) -> None:
        """Give a room another name."""
        await self._do(self.person.rename(room, name))
        self._note("rename", room, text=name)

    async def upgrade(self, room: str) -> str:
        """Upgrade a room. Return the id of the new one."""
        new = await self._do(self.person.upgrade(room))
        self._note("upgrade", room, made=new)
        return new

    def _invite(self, room: str) -> dict[str, Any]:
        seen = self.person.seen
        return {"by": seen.invited[room], "name": seen.invite_names[room]} if room in seen.invited else {}

    async def _sent(self, room: str, send: Callable[[], Awaitable[str]]) -> str:
        """Send once a sync has brought the room: matrix-nio encrypts only for rooms that it knows."""
        with self._busy():
            for _ in range(int(ACT_S / RETRY_S)):
                if room in self.person.client.rooms:
                    break
                await asyncio.sleep(RETRY_S)
            else:
                raise HarnessError("no sync has brought this room yet")
            return await carried_out(send())

    async def _do(self, act: Awaitable[T]) -> T:
        with self._busy():
            return await carried_out(act)

    @contextmanager
    def _busy(self) -> Iterator[None]:
        """While an act is under way, what it leads to is not written down: the act comes first."""
        self.acting += 1
        try:
            yield
        except BaseException:
            self.acting -= 1
            self._noticed()
            raise
        self.acting -= 1

    def _note(
        self, action: Any, room: str = "", about: SeenEvent | None = None, *, made: str = "", **values: Any
    ) -> None:
        quoted = None if about is None else Quoted(about.event_id, about.sender, about.body or "")
        self.script.add(PersonStep(self.name, action, room, values, quoted, made))
        if values.get("encrypted"):
            self.script.encrypted.add(made)
        self._noticed()
