"""One bot with everything a scenario needs: its owner, a room in which it answers, a proxy to its homeserver.

The stage acts and records. It never says whether the bot did well: that is the judge's work.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from greenroom import checks, must
from greenroom.bot_process import RunningBot
from greenroom.bot_ready import Ready, first_sync
from greenroom.errors import NotMet
from greenroom.evidence.cause import ports_in_use
from greenroom.faults import Deliveries, Entry, FaultProxy, Rule, actions, fault_proxy
from greenroom.faults.brought import is_sync
from greenroom.faults.recovery import keeps_back, until_settled, until_started
from greenroom.faults.rest import unrest
from greenroom.homeserver.interface import RunningHomeserver
from greenroom.hosted import Hosted
from greenroom.people.accounts import Account, register, unique_localpart
from greenroom.people.answers import answers
from greenroom.people.asking import Way
from greenroom.people.matrix_api import MatrixApi, path
from greenroom.people.person import Person
from greenroom.people.seen import Seen
from greenroom.processes.ports import holder
from greenroom.scenarios.observed import Observed, Question, Why
from greenroom.scenarios.promises import BotPromises
from greenroom.scenarios.trigger import Triggers
from greenroom.session import BotFactory, PersonFactory, Session
from greenroom.waiting import Alive, NotYet, until

TRIES = 3  # questions within `patience_s`, until one is answered
STOP_S = 10.0
OWN_ANSWER_S = 2.0
TRANSACTIONS = "/transactions/"


class NeverAnswered(Exception):
    """The bot did not answer its first question, so there is nothing to disturb."""


@dataclass
class Stage:
    """What a scenario works with. The bot answers its owner in `chat`, and is also a member of `spare`.

    `way`: the way that the bot promises; None if it has promised nothing and we only look.
    """

    promises: BotPromises
    way: str | None
    server: RunningHomeserver
    faults: FaultProxy
    bot: RunningBot
    owner: Person
    people: PersonFactory
    observed: Observed
    service: Hosted | None = None  # if the bot is an application service
    chat: str = ""
    spare: str = ""
    triggers: Triggers | None = None  # of a bot that is triggered instead of asked
    _waited: bool = False

    @property
    def patience_s(self) -> float:
        """How long an answer may take."""
        return self.promises.patience_s + self.promises.later_s

    @property
    def deliveries(self) -> Deliveries:
        """The proxy for what the homeserver sends to an application service."""
        return self.bot.deliveries

    def note(self, **facts: Any) -> None:
        """Record what a scenario measured, for the judge."""
        self.observed.facts.update({name.replace("_", " "): value for name, value in facts.items()})

    # -- asking

    def new_word(self) -> str:
        """Return a word that no question has had before."""
        return f"word{secrets.token_hex(4)}"

    async def ask(
        self,
        why: Why,
        *,
        msgtype: str = "m.text",
        word: str | None = None,
        room: str = "",
        by: str = "",
        knowing: bool = True,
    ) -> Question:
        """Send a new question from the owner, in `chat` or another room. Return it without waiting for the answer.

        `by`: who is to answer, if not the bot itself. In an encrypted chat the owner first hears of new devices, as a
        client at work does, unless `knowing` is false.
        """
        word, room = word or self.new_word(), room or self.chat
        await self._caught_up()
        if self.triggers is not None:
            return await self._pull(why, word, room, self.triggers)
        text = self.promises.question(word, bot=self.bot.user_id)
        if self.promises.encrypted and knowing:
            await self.owner.sync()
        if msgtype == "m.text":
            event_id = await self.owner.ask(room, text, way=self._way_to_ask(room), bot=by or self.bot.user_id)
        else:
            event_id = await self.owner.send_text(room, text, msgtype=msgtype)
        answer = self.promises.expected(word, bot=self.bot.user_id)
        question = Question(why, room, event_id, text, answer, time.time(), by)
        self.observed.questions.append(question)
        return question

    async def _pull(self, why: Why, word: str, room: str, triggers: Triggers) -> Question:
        """Pull the trigger instead of asking. Everything that was said before is seen first: that is its position."""
        await self.owner.sync()
        before = self.owner.seen.timeline[-1].event_id if self.owner.seen.timeline else None
        at = time.time()
        text, pulled = triggers.pull(self.bot, word, room)
        answer = self.promises.expected(word, bot=self.bot.user_id)
        question = Question(why, room, "", text, answer, at, after=before, pulled=pulled)
        self.observed.questions.append(question)
        return question

    def _way_to_ask(self, room: str) -> str:
        """Return how to ask. A reply or a thread needs a message of the bot, so the first question mentions it."""
        needs_one = self.promises.ask_as in (Way.REPLY, Way.THREAD)
        said = answers(self.owner.seen.timeline, sender=self.bot.user_id, room=room)
        return Way.MENTION if needs_one and not said else self.promises.ask_as

    async def heard(self, *questions: Question, timeout_s: float | None = None) -> bool:
        """Wait for the answer to one of these questions. Return whether one came. Raises Died."""

        def answer(seen: Seen) -> bool | NotYet:
            self.observed.events = list(seen.timeline)
            found = any(self.observed.answers_to(question) for question in questions)
            return found or NotYet("no answer")

        limit_s = self.patience_s if timeout_s is None else timeout_s
        try:
            return await self.owner.until(answer, watch=[self.bot], timeout_s=limit_s)
        except NotMet:
            return False

    async def ask_and_hear(self, why: Why) -> Question:
        """Send a new question from the owner, and wait for the answer, which need not come."""
        question = await self.ask(why)
        await self.heard(question)
        return question

    async def talk(self) -> None:
        """Ask until the bot answers, for up to `patience_s`; then ask once more.

        The answer to the last question shows that the bot is through with everything before. It may have received the
        first of these questions in the same sync as the event under test, and may have handled it first. A bot that
        answers them has some more time for what the disturbance hit.
        """
        asked: list[Question] = []
        for _ in range(TRIES):
            asked.append(await self.ask(Why.AFTER))
            if await self.heard(*asked, timeout_s=self.patience_s / TRIES):
                break
        else:
            return
        await self.ask_and_hear(Why.AFTER)
        await self._wait_for_subjects()
        await self.owner.sync()

    async def _wait_for_subjects(self) -> None:
        """Wait for the answers to what the disturbance hit, unless the bot promises that there are none."""
        if self.way != "unanswered" and not self._waited:
            for question in self.observed.asked(Why.SUBJECT):
                if question.pulled and question.pulled.accepted is False:
                    continue
                if not await self.heard(question, timeout_s=self.patience_s / 2):
                    break
            self._waited = True

    async def owners_session(self, *, knowing: bool = True) -> str:
        """Return the id of the Megolm session with which the owner encrypts the next message in `chat`.

        The owner first hears of new devices, unless `knowing` is false.
        """
        if knowing:
            await self.owner.sync()
        client = self.owner.client
        if client.olm.should_share_group_session(self.chat):
            await client.share_group_session(self.chat, ignore_unverified_devices=True)
        return str(client.olm.outbound_group_sessions[self.chat].id)

    # -- the bot

    async def stop_bot(self) -> None:
        """Stop the bot with SIGTERM, or with SIGKILL if it does not end."""
        if await self.bot.stop(timeout_s=STOP_S) == -9:
            self.note(needed_SIGKILL=True)

    async def restart_bot(self) -> None:
        """Stop the bot and start it again."""
        await self.stop_bot()
        await self.start_bot()

    async def start_bot(self) -> None:
        """Start the bot again. What an application service has missed arrives when it has come to rest.

        Synapse tries again after 2 s, 4 s, 8 s and so on. It would be chance whether that finds a service half started.
        """
        if self.service is None:
            await self.bot.start_again()
            return
        with self.deliveries.fault("held while it starts", actions.stall, path=TRANSACTIONS):
            await self.bot.start_again()
            if keeps_back(self._transactions()):
                began = time.time()
                await self._for_a_while(
                    lambda now: until_started(self._requests(syncs=False), now, began),
                    "the service to have started",
                    timeout_s=self.patience_s / 2,
                    watch=[self.bot],
                )

    async def kill_bot(self) -> None:
        """Kill the bot, and wait until the proxy has dropped its requests. No request arrives late then."""
        await self.bot.kill()
        await self._none_open(syncs=True)

    async def bot_at_rest(self) -> None:
        """Wait until the bot has no open request but its sync. People see an answer before the bot's send returns."""
        await self._none_open(syncs=False, watch=[self.bot])

    async def bot_has_read(self) -> None:
        """Wait until the bot has received its own latest answer and syncs again: then its next start finds no news.

        A bot whose filter leaves out its own messages never receives them. It is waited for in vain, for a moment.
        """
        await self._for_a_while(
            lambda now: unrest(self.faults.transcript.around(self.bot.user_id), now),
            "the bot to be at rest",
            timeout_s=OWN_ANSWER_S,
            watch=[self.bot],
        )

    async def _caught_up(self) -> None:
        """Wait until the homeserver has sent an application service what it kept."""
        if self.service is not None:
            await self._for_a_while(
                lambda now: until_settled(self._transactions(), now),
                "the homeserver to catch up",
                timeout_s=self.patience_s / 2,
            )

    async def _for_a_while(
        self, missing: Callable[[float], str | None], what: str, *, timeout_s: float, watch: Iterable[Alive] = ()
    ) -> None:
        """Wait until nothing is missing at the time that `missing` is called with; in the end, go on without."""

        def check() -> bool | NotYet:
            lacks = missing(time.time())
            return lacks is None or NotYet(lacks)

        with suppress(NotMet):
            await until(check, what, timeout_s=timeout_s, watch=watch)

    async def _none_open(self, *, syncs: bool, watch: Iterable[Alive] = ()) -> None:
        def check() -> bool | NotYet:
            still_open = [entry for entry in self._requests(syncs=syncs) if entry.duration_s is None]
            return not still_open or NotYet(f"open: {still_open[0].line()}")

        await until(check, "the bot's requests to end", watch=watch)

    def _requests(self, *, syncs: bool) -> list[Entry]:
        """Return the bot's own requests, with its syncs or without."""
        return [e for e in self.faults.transcript.entries(user=self.bot.user_id) if syncs or not is_sync(e.path)]

    def _transactions(self) -> list[Entry]:
        return self.deliveries.transcript.entries(path=TRANSACTIONS)

    async def provoke(self) -> None:
        """Make the bot send a request now: a client whose sync is cut, any other that is asked or triggered."""
        self.faults.cut_open()
        if self.service is not None or self.triggers is not None:
            await self.ask(Why.SUBJECT)

    async def hit(self, rule: Rule, times: int = 1) -> None:
        """Wait until a fault has hit the bot. Raises NotMet, Died."""
        await rule.until_hit(times, watch=[self.bot], timeout_s=self.patience_s)


@asynccontextmanager
async def open_stage(
    session: Session,
    server: RunningHomeserver,
    home: RunningHomeserver,
    promises: BotPromises,
    way: str | None,
    observed: Observed,
    service: Hosted | None = None,
) -> AsyncIterator[Stage]:
    """Start the bot on `server` behind a proxy, invite it as its owner, and wait for its first answer.

    `home`: where the owner lives. `service`: what the homeserver knows of an application service.

    Raises NeverAnswered if the bot does not answer: then there is nothing to disturb. Whatever happens, `observed` has
    at the end what everybody has seen.
    """
    async with AsyncExitStack() as stack:
        people = PersonFactory(session, stack, promises.name, server)
        both = service.deliveries.transcript if service else None
        faults = await stack.enter_async_context(fault_proxy(server, transcript=both))
        session.record.transcripts.append(faults.transcript)
        owner = await people("owner", server=home, encrypted=promises.encrypted)
        account = service.account if service else await register(server, unique_localpart("bot", promises.name))
        observed.bot, observed.own = account.user_id, [str(promises.cwd)]
        bots = BotFactory(session, stack, promises.name, server)
        trigger = promises.pulled
        triggers = Triggers(trigger, session.run, timeout_s=promises.patience_s) if trigger else None
        try:
            env = {**promises.env, "OWNER": owner.user_id, "HERE": str(promises.cwd), "OWNER_SERVER": home.server_name}
            if promises.mentions("ROOM"):
                env["ROOM"] = await _chat(owner, people, promises, account)
            bot = await bots(
                promises.command,
                account=account,
                env=env,
                config=promises.files(),
                ready=promises.ready.condition(_listens(promises, faults, service)),
                through=faults,
                cwd=promises.cwd,
                own_folder=promises.own_folder,
                appservice=service or False,
            )
            stage = Stage(promises, way, server, faults, bot, owner, people, observed, service, env.get("ROOM", ""))
            stage.triggers = triggers
            await _find_rooms(stage, account)
            first = await stage.ask(Why.FIRST)
            if not await stage.heard(first):
                did_not = "answer its first question" if trigger is None else "say anything at its first trigger"
                raise NeverAnswered(f"the bot did not {did_not}, {first.text!r}")
            await stage.bot_at_rest()
            observed.disturbed = True
            yield stage
        finally:
            if triggers is not None:
                await triggers.close()
            observed.events = list(owner.seen.timeline)
            observed.requests = faults.transcript.entries()
            observed.log = "".join(log.text() for log in session.record.logs if log.name == account.localpart)
            observed.holders = {str(port): holder(port, session.run.run_id) for port in ports_in_use(observed.log)}
            observed.ended = time.time()


def _listens(promises: BotPromises, faults: FaultProxy, service: Hosted | None) -> Ready:
    """Return the sign that a bot listens: to its homeserver, to its HTTP trigger, or by a sync."""
    if service is not None:
        return service.listens
    return (promises.trigger.listens() if promises.trigger else None) or first_sync(faults)


async def _find_rooms(stage: Stage, account: Account) -> None:
    owner, bot = stage.owner, stage.bot
    try:
        # Not a `trusted_private_chat`, as for direct chats: there the bot has full power, and nobody can kick it.
        encrypted = stage.promises.encrypted
        with bot.early_invites_held(owner.user_id):
            stage.spare = await owner.create_room(is_direct=True, invite=[bot.user_id], encrypted=encrypted)
        await _join_for(account, stage.spare, stage.promises, stage.server)
        await must.join(owner, bot, stage.spare, timeout_s=stage.patience_s)
        if stage.promises.chat == "made by the bot":
            stage.chat = await accept_invites(owner, bot, stage.patience_s)
        else:
            with bot.early_invites_held(owner.user_id):
                stage.chat = stage.chat or await _chat(owner, stage.people, stage.promises, account)
            await must.join(owner, bot, stage.chat, timeout_s=stage.patience_s)
        if owner.server is not stage.server:
            await stage.bot_at_rest()  # a bot that joins twice has then joined for the second time, too
        if encrypted:
            await owner.until(published_keys(owner, bot.user_id), watch=[bot], timeout_s=stage.patience_s)
    except NotMet as error:
        raise NeverAnswered(str(error)) from error


def published_keys(owner: Person, bot: str) -> checks.SeenCheck[bool]:
    """Return the check that the owner can encrypt for a device of the bot."""

    def test(seen: Seen) -> bool | NotYet:
        return any(owner.client.device_store.active_user_devices(bot)) or NotYet(f"{bot} has published no device keys")

    return checks.SeenCheck(f"device keys of {bot}, without which nobody can encrypt for it", test)


async def _chat(owner: Person, people: PersonFactory, promises: BotPromises, bot: Account) -> str:
    """Make the room in which the owner will ask, and invite the bot. Return its id."""
    if promises.chat != "group":
        room = await owner.create_direct(bot.user_id, encrypted=promises.encrypted)
    else:
        guest = await people("guest")
        invite = [bot.user_id, guest.user_id]
        room = await owner.create_room(name="A group", invite=invite, encrypted=promises.encrypted)
        await guest.join(room)
    await _join_for(bot, room, promises, people.homeserver)
    return room


async def _join_for(bot: Account, room: str, promises: BotPromises, server: RunningHomeserver) -> None:
    """Join a room with the bot's account, if the bot accepts no invite. This is no request of the bot."""
    if promises.invites == "nobody":
        async with MatrixApi(server.url) as api:
            await api.call("POST", path("join", room), token=bot.access_token, json={})


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
