"""`dev --stage`: the proxy between bot and homeserver, the page, and what the page asks of this `dev`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from greenroom.commands.dev.console import Console, readable
from greenroom.commands.dev.control import Wish, ask_from_inside
from greenroom.commands.dev.folder import DevFolder
from greenroom.commands.dev.follow import LogTail
from greenroom.commands.dev.parts import BOT, HOMESERVER, OUR_COMMAND, Parts
from greenroom.commands.dev.snapshots.moment import listed
from greenroom.commands.dev.status import Report, drift_verdict, survey
from greenroom.commands.dev.tools import running_homeserver
from greenroom.homeserver import RunningHomeserver
from greenroom.homeserver.settings import replace_text
from greenroom.people.accounts import Account
from greenroom.processes.procfs import is_frozen
from greenroom.spelling import command

if TYPE_CHECKING:
    from greenroom.faults import FaultProxy
    from greenroom.stage.bridge import Drift, PartFacts
    from greenroom.stage.seeing.log_lines import Line

KEPT = 2000  # requests: an hour of an idle bot, and what a busy one did last


async def put_proxy(parts: Parts, server: RunningHomeserver) -> None:
    """Put a fault proxy between the homeserver and the bot that will be started."""
    from greenroom.faults import FaultProxy, Transcript

    parts.through = FaultProxy(server, transcript=Transcript(kept=KEPT))
    await asyncio.to_thread(parts.through.start)


@asynccontextmanager
async def staged(parts: Parts, console: Console) -> AsyncIterator[None]:
    """Serve the stage for the length of an `async with`, and say where it is."""
    from greenroom.stage.page import stage_page
    from greenroom.stage.people import People
    from greenroom.stage.script import Script
    from greenroom.stage.serve import serving
    from greenroom.stage.writing.scene import scene_of

    folder = parts.folder
    script = Script(lambda: scene_of(parts.state, parts.environment, our_command=OUR_COMMAND))
    bridge = Bridge(parts)
    people = People(
        running_homeserver(folder), lambda: people_of(folder), lambda: str(parts.state[BOT]["user_id"]), script
    )

    def note_address(address: str) -> None:
        replace_text(folder.stage_file, address + "\n")

    try:
        async with people, serving(stage_page(bridge, people, script), note_address) as guard:
            console.say(f"stage: {guard.address}")
            console.say(f"       for one browser, once; {command('status')} prints a fresh address")
            yield
    finally:
        folder.stage_file.unlink(missing_ok=True)


def people_of(folder: DevFolder) -> list[Account]:
    """Return the accounts that `dev.json` names."""
    return [Account(person["user_id"], person["password"]) for person in folder.state()["people"]]


class Bridge:
    """What the page asks of this `dev`; see `greenroom.stage.bridge`."""

    def __init__(self, parts: Parts) -> None:
        assert parts.through is not None, "the proxy comes first"
        self.faults: FaultProxy = parts.through
        self._parts = parts

    @property
    def bot(self) -> PartFacts:
        """The bot right now."""
        running = self._parts.bot
        frozen = running is not None and is_frozen(running.pid)
        return self._facts(BOT, self._parts.state[BOT]["command"], running is not None, frozen=frozen)

    @property
    def homeserver(self) -> PartFacts:
        """The homeserver right now."""
        noted = self._parts.state[HOMESERVER]
        return self._facts(HOMESERVER, f"{noted['url']} ({noted['kind']})", self._parts.server is not None)

    @property
    def bot_restarts(self) -> int:
        """How often the bot was started after the first time."""
        return max(0, self._parts.bot_starts - 1)

    def _facts(self, part: str, what: str, runs: bool, *, frozen: bool = False) -> PartFacts:
        from greenroom.stage.bridge import PartFacts

        noted = self._parts.state[part]
        if not runs:
            return PartFacts(what, ended=self._parts.ended.get(part, ""))
        container = noted.get("container")
        handle = f"container {container}" if container else f"pid {noted.get('pid')}"
        return PartFacts(what, handle, datetime.fromisoformat(noted["since"]), frozen)

    def tail(self, part: str) -> Callable[[], list[Line]]:
        """Return a function that returns the lines of a log since its last call."""
        from greenroom.stage.seeing.log_lines import Levels, Line

        tail, levels = LogTail(self._parts.folder.log(part)), Levels()

        def new() -> list[Line]:
            raw = [(levels.of(line), line) for line in tail.new_lines()]
            return [Line(level, text) for level, line in raw for text in readable(line)]

        return new

    async def ask(self, action: str, part: str = "", name: str = "") -> list[str]:
        """Do what a command of that name does, after what others have asked. Raises HarnessError."""
        return await ask_from_inside(self._parts.folder, Wish(action, part, name))

    async def drift(self) -> Drift:
        """Compare the bot's records with the homeserver, as `status` does."""
        report = await asyncio.to_thread(lambda: asyncio.run(survey(self._parts.folder, as_json=True)))
        return drift_of(report)

    def snapshots(self) -> list[str]:
        """Return the names of the snapshots that can be restored."""
        return [one.name for one in listed(self._parts.folder) if not one.problem]


def drift_of(report: Report) -> Drift:
    """Return what a report says about drift, a row for each room that is not in step."""
    from greenroom.stage.bridge import Drift, DriftRow

    found: dict[str, Any] = report.document.get("drift") or {}
    rows = [
        DriftRow(room.get("name") or room["room_id"], room["outcome"], _reason(room)) for room in found.get("rooms", [])
    ]
    return Drift(drift_verdict(report), report.problem or report.lines or found.get("doubt") or "", rows)


def _reason(room: dict[str, Any]) -> str:
    words = [room.get("reason", ""), room.get("detail", ""), ", ".join(room.get("changes", []))]
    return "; ".join(word for word in words if word) or room.get("rule", "")
