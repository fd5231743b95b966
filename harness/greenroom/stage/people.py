"""The people on the page: who can log in, who is logged in, and what they saw of the bot, written into the script."""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Self

from greenroom.errors import HarnessError, MatrixRefused, Misuse
from greenroom.homeserver.interface import RunningHomeserver
from greenroom.people.accounts import LOCALPART, Account, register
from greenroom.people.answers import Answer, answers
from greenroom.people.person import Person
from greenroom.seed.survey import SEED_MARKER
from greenroom.stage.being.player import Player, carried_out
from greenroom.stage.script import AnswerSeen, BotMoved, LogInStep, PersonStep, Script

LONGEST_NAME = 60
ASKS = ("say", "reply", "edit")


class People:
    """Everybody on the stage. Their keys live in a temporary folder, which goes with them."""

    def __init__(
        self,
        server: RunningHomeserver,
        accounts: Callable[[], list[Account]],
        bot_user_id: Callable[[], str],
        script: Script,
    ) -> None:
        self.server = server
        self.script = script
        self.players: dict[str, Player] = {}
        self.bot_user_id = bot_user_id
        self._accounts = accounts
        self._new: dict[str, Account] = {}
        self._stores = Path()
        self._count = 0
        self._door = asyncio.Lock()  # nobody logs in twice at once
        self._said: dict[str, str] = {}  # event id -> text, of the bot's answers that the script has
        self._moves: set[str] = set()  # event ids

    async def __aenter__(self) -> Self:
        self._stores = Path(tempfile.mkdtemp(prefix="greenroom-stage-"))
        return self

    async def __aexit__(self, *_: object) -> None:
        for name in list(self.players):
            await self.log_out(name)
        shutil.rmtree(self._stores, ignore_errors=True)

    def accounts(self) -> list[Account]:
        """Return who can log in: the people of the dev environment, and those made here. The bot is not among them."""
        try:
            known = [one for one in self._accounts() if one.user_id != self.bot_user_id()]
        except HarnessError:  # `dev.json` is being replaced, or is gone
            known = []
        names = {one.localpart for one in known}
        return [*known, *(one for name, one in self._new.items() if name not in names)]

    async def log_in(self, name: str) -> Player:
        """Log somebody in, on a new device; who is logged in already stays so. Raises HarnessError."""
        async with self._door:
            if name in self.players and not self.players[name].is_over:
                return self.players[name]
            account = next((one for one in self.accounts() if one.localpart == name), None)
            if account is None:
                raise Misuse(f"there is nobody called {name!r}")
            await self.log_out(name)
            return await self._enter(replace(account, access_token="", device_id=""), new=name in self._new)

    async def register(self, name: str) -> Player:
        """Make an account, and log it in. Raises HarnessError."""
        name = name.strip().lower()
        if not LOCALPART.match(name) or len(name) > LONGEST_NAME:
            raise Misuse("a name has letters, digits and . _ - only")
        try:
            account = await carried_out(register(self.server, name))
        except MatrixRefused as refused:
            if refused.errcode == "M_USER_IN_USE":
                raise Misuse(f"there is somebody called {name} already") from None
            raise
        self._new[name] = account
        async with self._door:
            return await self._enter(account, new=True)

    async def log_out(self, name: str) -> None:
        """End somebody's session, if there is one. The account stays."""
        player = self.players.pop(name, None)
        if player is None:
            return
        await player.end()
        with suppress(HarnessError):
            if not player.is_over:
                await carried_out(player.person.client.logout(), limit_s=2.0)
        await player.person.close()

    def end_logins(self, why: str) -> None:
        """Note that all logins are over, for instance since the homeserver's data was replaced."""
        for player in self.players.values():
            player.lose(why)

    async def _enter(self, account: Account, *, new: bool) -> Player:
        self._count += 1
        person = Person(self.server, account, self._stores / str(self._count))
        player = Player(person, self.script, noticed=self._write_down)
        try:
            await carried_out(person.log_in())
            await player.begin()
        except BaseException:
            await person.close()
            raise
        self.players[account.localpart] = player
        self.script.add(LogInStep(account.localpart, new))
        self._write_down()
        return player

    # -- what is seen

    def _write_down(self) -> None:
        """Write into the script what the people have seen of the bot. An act under way is written down before."""
        if any(player.acting for player in self.players.values()):
            return
        for player in self.players.values():
            self._note_rooms(player)
            self._note_moves(player)
            for said in answers(player.person.seen.timeline, sender=self.bot_user_id(), after=player.mark):
                self._note_answer(player, said)

    def _note_rooms(self, player: Player) -> None:
        seen = player.person.seen
        for room in seen.joined:
            marker = seen.state_content(room, SEED_MARKER)
            if marker and isinstance(marker.get("key"), str):
                self.script.seeded[room] = marker["key"]
            if seen.is_encrypted(room):
                self.script.encrypted.add(room)

    def _note_moves(self, player: Player) -> None:
        """Note where the bot accepted an invite of these people, and where it left."""
        bot = self.bot_user_id()
        for event in player.new_events():
            if event.type != "m.room.member" or (event.sender, event.state_key) != (bot, bot):
                continue
            membership, latest = event.content.get("membership"), self._latest_move(event.room_id)
            if event.event_id in self._moves:
                continue
            self._moves.add(event.event_id)
            if membership == "join" and latest == "invite":
                self.script.add(BotMoved(player.name, event.room_id, "join"))
            elif membership == "leave" and latest in ("invite", "join"):
                self.script.add(BotMoved(player.name, event.room_id, "leave"))

    def _latest_move(self, room: str) -> str:
        """Return what the script says of the bot in a room: invited by our people, joined or left; else nothing."""
        bot, latest = self.bot_user_id(), ""
        for step in self.script.steps:
            if isinstance(step, BotMoved) and step.room == room:
                latest = step.membership
            elif isinstance(step, PersonStep) and room in (step.room, step.made) and bot in _users(step):
                latest = "leave" if step.action == "kick" else "invite"
        return latest

    def _note_answer(self, player: Player, said: Answer) -> None:
        if said.text.strip() and self._said.get(said.event_id) != said.text:
            self._said[said.event_id] = said.text
            question = self._question(said)
            asked = str(question.values["text"]) if question else ""
            made = question.made if question else ""
            self.script.hear(AnswerSeen(player.name, said.room_id, said.event_id, said.text, made, asked))

    def _question(self, said: Answer) -> PersonStep | None:
        """Return what an answer is about: what it says itself, or whose words it has, or the oldest one open.

        A bot that repeats an old answer after its start may do so after a new question was asked.
        """
        asked: list[PersonStep] = []
        still_open: list[PersonStep] = []
        for step in self.script.steps:
            if isinstance(step, PersonStep) and step.action in ASKS and step.room == said.room_id:
                asked.append(step)
                still_open.append(step)
            elif isinstance(step, AnswerSeen) and step.room == said.room_id:
                if step.event_id == said.event_id:
                    break
                still_open.clear()
        named = [step for step in asked if said.about is not None and step.made == said.about]
        alike = [step for step in (*still_open, *asked) if _words(step.values["text"]) & _words(said.text)]
        found = [*named, *alike, *still_open, *asked[-1:]]
        return found[0] if found else None


def _users(step: PersonStep) -> tuple[str, ...]:
    return (step.values.get("user", ""), *step.values.get("invite", ()))


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))
