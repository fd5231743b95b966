"""The page: be a person on the left, see the bot on the right, break it below."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from nicegui import ui

from greenroom.stage.breaking.break_pane import BreakPane
from greenroom.stage.breaking.switches import Switches
from greenroom.stage.bridge import Bridge
from greenroom.stage.look import CSS, EVERY_S
from greenroom.stage.people import People
from greenroom.stage.person_pane import person_pane
from greenroom.stage.script import Script
from greenroom.stage.seeing.bot_pane import COLOURS, bot_pane

RESTORED = "the homeserver was restored; log in again"
MODES = {"auto": None, "light": False, "dark": True}


def stage_page(bridge: Bridge, people: People, script: Script) -> Callable[[], None]:
    """Return what builds the page for one browser. All pages share the people, the switches and the script."""
    switches = Switches(bridge.faults, script)

    def build() -> None:
        ui.add_css(CSS)
        with ui.element("main").classes("stage"):
            with ui.element("header").classes("stage-head"):
                _head(bridge, switches)
            with ui.element("section").classes("stage-card stage-left").props("aria-label='be a person'"):
                person_pane(people)
            with ui.element("section").classes("stage-card stage-right").props("aria-label='see the bot'"):
                drift = bot_pane(bridge)
            with ui.element("section").classes("stage-card stage-below").props("aria-label='break it'"):
                restored = partial(people.end_logins, RESTORED)
                BreakPane(bridge, switches, script, acted=drift.stale, restored=restored)

    return build


def _head(bridge: Bridge, switches: Switches) -> None:
    with ui.element("h1").style("font-size: 16px; font-weight: 700; margin: 0; line-height: 1.6"):
        ui.label("Greenroom: the stage")
    server = ui.label().props("data-testid=homeserver-state aria-live=polite")
    faults = ui.label().props("data-testid=faults-on aria-live=polite")
    ui.space()
    mode = ui.dark_mode(None)
    ui.toggle(list(MODES), value="auto", on_change=lambda event: mode.set_value(MODES[event.value])).props(
        "dense no-caps flat data-testid=mode aria-label='light or dark'"
    )

    def look() -> None:
        facts, on = bridge.homeserver, switches.in_force
        said = f"homeserver {facts.word}{f': {facts.ended}' if facts.ended else ''} · {facts.what}"
        if server.text != said:
            server.set_text(said)
            server.classes(replace=COLOURS[facts.word])
        broken = f"network broken: {', '.join(on)}" if on else "network whole"
        if faults.text != broken:
            faults.set_text(broken)
            faults.classes(replace="stage-chip stage-bad" if on else "stage-quiet")

    look()
    ui.timer(EVERY_S, look)
