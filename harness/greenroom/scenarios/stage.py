"""One bot with everything a scenario needs: its owner, a room in which it answers, a proxy to its homeserver."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from greenroom import checks, must
from greenroom.bot_process import RunningBot
from greenroom.errors import CannotTell, Died, HarnessError, NotMet
from greenroom.faults import Entry, FaultProxy, fault_proxy
from greenroom.homeserver.interface import RunningHomeserver
from greenroom.people.person import Person
from greenroom.people.seen import Seen, SeenEvent
from greenroom.scenarios.promises import BotPromises
from greenroom.session import BotFactory, PersonFactory, Session
from greenroom.waiting import Alive, NotYet, until


@dataclass(frozen=True)
class Question:
    """A question that the owner asked in a room, and the text that its answer contains."""

    room: str
    event_id: str
    text: str
    answer: str


@dataclass
class Stage:
    """What a scenario works with. The bot answers its owner in `chat`, and is also a member of `spare`."""

    promises: BotPromises
    way: str
    server: RunningHomeserver
    faults: FaultProxy
    bot: RunningBot
    owner: Person
    people: PersonFactory
    chat: str = ""
    spare: str = ""
    asked: list[Question] = field(default_factory=list)

    @property
    def patience_s(self) -> float:
        """How long an answer may take."""
        return self.promises.patience_s

    def new_word(self) -> str:
        """Return a word that no question has had before."""
        return f"word{secrets.token_hex(4)}"

    async def ask(self, room: str | None = None, *, msgtype: str = "m.text", word: str | None = None) -> Question:
        """Send a new question from the owner. Return it without waiting for the answer."""
        word = word or self.new_word()
        text = self.promises.ask.format(word=word)
        event_id = await self.owner.send_text(room or self.chat, text, msgtype=msgtype)
        question = Question(room or self.chat, event_id, text, self.promises.answer.format(word=word))
        if msgtype == "m.text":
            self.asked.append(question)
        return question

    async def answered(self, question: Question) -> SeenEvent:
        """Wait for the answer to a question. Raises NotMet."""
        wanted = checks.message(
            sender=self.bot.user_id, room=question.room, after=question.event_id, containing=question.answer
        )
        return await self.owner.until(wanted, watch=[self.bot], timeout_s=self.patience_s)

    async def ask_and_hear(self, room: str | None = None) -> Question:
        """Send a new question from the owner, and wait for the answer."""
        question = await self.ask(room)
        await self.answered(question)
        return question

    async def each_answered_once(self, *besides: Question) -> None:
        """Check that the bot has answered every question exactly once, and those in `besides` never.

        Two more questions are the sentinel: the bot may receive the first one in the same sync as the event under
        test, and handle it first. The second one comes later. Raises AssertionError with the questions and their
        numbers of answers.
        """
        await self.ask_and_hear()
        await self.ask_and_hear()
        await self.owner.sync()
        wrong = []
        for question, expected in self._expected({question.event_id for question in besides}):
            count = self._answers(question)
            if count != expected:
                wrong.append(f"{question.text!r} was answered {_times(count)} instead of {_times(expected)}")
        if wrong:
            raise AssertionError("; ".join(wrong))

    def _expected(self, never: set[str]) -> list[tuple[Question, int]]:
        if "{word}" in self.promises.answer:
            return [(question, 0 if question.event_id in never else 1) for question in self.asked]
        # The answers do not differ, so they are counted together, under the room's latest question.
        latest = {question.room: question for question in self.asked}
        return [
            (question, sum(q.room == room and q.event_id not in never for q in self.asked))
            for room, question in latest.items()
        ]

    def _answers(self, question: Question) -> int:
        return sum(
            question.answer in (event.body or "") and event.replaces is None and event.sender == self.bot.user_id
            for event in self.owner.seen.messages(question.room)
        )

    async def stop_bot(self) -> None:
        """Stop the bot with SIGTERM. Raises AssertionError if the bot ends only with SIGKILL."""
        code = await self.bot.stop(timeout_s=10.0)
        if code == -9:
            raise AssertionError("the bot was still running 10 s after SIGTERM and had to be killed")

    async def kill_bot(self) -> None:
        """Kill the bot, and wait until the proxy has dropped its requests. No request arrives late then."""
        await self.bot.kill()
        await self._none_open(self.faults.transcript.entries)

    async def bot_at_rest(self) -> None:
        """Wait until the bot has no open request but its sync. People see an answer before the bot's send returns."""

        def but_syncs(**choice: Any) -> list[Entry]:
            return [e for e in self.faults.transcript.entries(**choice) if not e.path.endswith("/sync")]

        await self._none_open(but_syncs, watch=[self.bot])

    async def _none_open(self, entries: Callable[..., list[Entry]], watch: Iterable[Alive] = ()) -> None:
        def check() -> bool | NotYet:
            still_open = [entry for entry in entries(user=self.bot.user_id) if entry.duration_s is None]
            return not still_open or NotYet(f"open: {still_open[0].line()}")

        await until(check, "the bot's requests to end", watch=watch)


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")


@asynccontextmanager
async def open_stage(
    session: Session, server: RunningHomeserver, promises: BotPromises, way: str
) -> AsyncIterator[Stage]:
    """Start the bot behind a proxy, invite it as its owner, and wait for its first answer.

    Raises CannotTell if the bot never answers: then no scenario has a verdict.
    """
    async with AsyncExitStack() as stack:
        people = PersonFactory(session, stack, promises.name, server)
        faults = await stack.enter_async_context(fault_proxy(server))
        session.record.transcripts.append(faults.transcript)
        owner = await people("owner")
        bots = BotFactory(session, stack, promises.name, server)
        try:
            bot = await bots(
                promises.command,
                env={**promises.env, "OWNER": owner.user_id, "HERE": str(promises.cwd)},
                ready=promises.ready.condition(faults),
                through=faults,
                cwd=session.run.new_folder("cwd") if promises.own_folder else promises.cwd,
            )
            stage = Stage(promises, way, server, faults, bot, owner, people)
            await _find_rooms(stage)
            await stage.ask_and_hear()
            await stage.bot_at_rest()
        except (NotMet, HarnessError) as error:
            if isinstance(error, Died) and error.name != "bot":
                raise
            raise CannotTell("the bot never answered its first question", error) from error
        yield stage


async def _find_rooms(stage: Stage) -> None:
    owner, bot = stage.owner, stage.bot
    # Not a `trusted_private_chat`, as for direct chats: there the bot has full power, and the owner cannot kick it.
    stage.spare = await owner.create_room(is_direct=True, invite=[bot.user_id])
    await must.join(owner, bot, stage.spare, timeout_s=stage.patience_s)
    if stage.promises.chat == "direct":
        stage.chat = await must.chat(owner, bot, timeout_s=stage.patience_s)
    else:
        stage.chat = await accept_invites(owner, bot, stage.patience_s)


async def accept_invites(owner: Person, bot: RunningBot, patience_s: float) -> str:
    """Accept the bot's invites until one leads to a room that is no Space. Return that room.

    One sync may bring several invites, in any order. All of them are accepted.
    """
    joined: set[str] = set()

    def open_invites(seen: Seen) -> list[str] | NotYet:
        new = [room for room, by in seen.invited.items() if by == bot.user_id and room not in joined]
        return new or NotYet(f"invites from the bot so far: {len(joined)}, all to Spaces")

    wanted = checks.SeenCheck(f"an invite from {bot.user_id} to a room that is no Space", open_invites)
    while True:
        chats = []
        for room in await owner.until(wanted, watch=[bot], timeout_s=patience_s):
            await owner.join(room)
            joined.add(room)
            create = await owner.state(room, "m.room.create")
            if (create or {}).get("type") != "m.space":
                chats.append(room)
        if chats:
            return chats[0]
