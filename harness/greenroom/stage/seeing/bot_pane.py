"""The bot's side of the page: what runs, the logs, the wire, and the drift of the reference bot."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime

from nicegui import ui
from nicegui.events import ValueChangeEventArguments

from greenroom.stage.bridge import Bridge, PartFacts
from greenroom.stage.look import EVERY_S
from greenroom.stage.seeing.drift_pane import DriftPane
from greenroom.stage.seeing.latest_lines import SHOWN, LatestLines
from greenroom.stage.seeing.log_lines import LEVELS, Line
from greenroom.stage.seeing.wire_pane import Wire

KEPT = 3000  # lines that a search can find
COLOURS = {"running": "stage-good", "frozen": "stage-warn", "stopped": "stage-quiet", "dead": "stage-bad"}


def bot_pane(bridge: Bridge) -> DriftPane:
    """Build the pane into the current container; it updates itself. Return its part that actions make stale."""
    _facts(bridge)
    with ui.tabs().props("dense align=left inline-label").classes("w-full") as tabs:
        log, wire, drift = (ui.tab(name).props(f"data-testid=tab-{name.lower()}") for name in ("Log", "Wire", "Drift"))
    with ui.tab_panels(tabs, value=log, keep_alive=True, animated=False):
        with ui.tab_panel(log):
            views = [LogView(bridge).lines]
        with ui.tab_panel(wire):
            views.append(Wire(bridge.faults.transcript).lines)
        with ui.tab_panel(drift):
            shown = DriftPane(bridge, is_seen=lambda: tabs.value == "Drift")

    async def turned() -> None:
        for view in views:  # a hidden list forgets its place
            view.follow()
        await shown.look()

    tabs.on_value_change(turned)
    return shown


def _facts(bridge: Bridge) -> None:
    with ui.element("div").classes("stage-row"):
        with ui.element("h2"):
            ui.label("The bot")
        state = ui.label().props("data-testid=bot-state aria-live=polite")
        facts = ui.label().classes("stage-quiet").props("data-testid=bot-facts")

    def look() -> None:
        bot = bridge.bot
        word = f"{bot.word}: {bot.ended}" if bot.ended else bot.word
        if state.text != word:
            state.set_text(word)
            state.classes(replace=f"stage-chip {COLOURS[bot.word]}")
        said = facts_line(bot, bridge.bot_restarts, datetime.now(UTC))
        if facts.text != said:
            facts.set_text(said)

    look()
    ui.timer(EVERY_S, look)


def facts_line(bot: PartFacts, restarts: int, now: datetime) -> str:
    """Return since when the bot runs, how often it was restarted, its pid and command."""
    since = f"since {bot.since.astimezone():%H:%M:%S} ({age(bot.since, now)})" if bot.since else ""
    times = "not restarted" if not restarts else f"restarted {restarts} time{'s' if restarts > 1 else ''}"
    return " · ".join(part for part in (since, times, bot.handle, bot.what) if part)


def age(since: datetime, now: datetime) -> str:
    """Return a length of time for a person: seconds below a minute, then minutes, then hours."""
    seconds = max(0, int((now - since).total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 3600 else f"{seconds // 3600} h {seconds // 60 % 60} min"


class LogView:
    """The latest lines of a log. It follows the log unless a person has scrolled up."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        with ui.element("div").classes("stage-row"):
            which = ui.select(["bot", "homeserver"], value="bot", label="log of", on_change=self._other)
            which.props("dense outlined options-dense data-testid=log-of").style("min-width: 130px")
            self._level = ui.select(
                {"debug": "all", "info": "info and above", "warning": "warnings and errors", "error": "errors only"},
                value="info",
                label="level",
                on_change=self._again,
            ).props("dense outlined options-dense data-testid=log-level")
            self._text = ui.input(label="search", on_change=self._again)
            self._text.props("dense outlined clearable debounce=200 data-testid=log-search")
        self.lines = LatestLines("log")
        self._take("bot")
        ui.timer(EVERY_S, self._look)

    def _take(self, part: str) -> None:
        self._new = self._bridge.tail(part)
        self._kept: deque[Line] = deque(maxlen=KEPT)

    def _other(self, event: ValueChangeEventArguments[str]) -> None:
        self._take(event.value)
        self.lines.clear()
        self._look()

    def _look(self) -> None:
        if new := self._new():
            self._kept.extend(new)
            self._push(new)

    def _again(self) -> None:
        self.lines.clear()
        self._push(list(self._kept))

    def _push(self, lines: list[Line]) -> None:
        wanted, least = str(self._text.value or "").lower(), LEVELS.index(self._level.value or "debug")
        fitting = [one for one in lines if LEVELS.index(one.level) >= least and wanted in one.text.lower()]
        for line in fitting[-SHOWN:]:
            self.lines.add(f"{line.letter} {line.text}", f"line {line.level}")
        self.lines.follow()
