"""Below: break it. Buttons for the parts, switches for the faults, snapshots, and the test that repeats it all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from nicegui import ui

from greenroom.errors import HarnessError
from greenroom.stage.breaking.copy_dialog import copy_dialog
from greenroom.stage.breaking.fault_switches import fault_switches
from greenroom.stage.breaking.switches import Switches
from greenroom.stage.bridge import Bridge, PartFacts
from greenroom.stage.look import EVERY_S
from greenroom.stage.script import BotStep, HomeserverStep, Script, Step


@dataclass(frozen=True)
class Press:
    """A button: what it asks of `dev`, and the step that it is in the script."""

    label: str
    action: str
    part: str
    step: Step
    name: str = ""
    hurts: bool = False

    @property
    def testid(self) -> str:
        """The hook for tests."""
        return "-".join(part for part in (self.part, self.action, self.name) if part)


BOT = (
    Press("Start", "start", "bot", BotStep("start")),
    Press("Stop", "stop", "bot", BotStep("stop")),
    Press("Restart", "restart", "bot", BotStep("restart")),
    Press("Freeze", "freeze", "bot", BotStep("freeze")),
    Press("Thaw", "thaw", "bot", BotStep("thaw")),
    Press("SIGKILL", "kill", "bot", BotStep("kill"), hurts=True),
    Press("Lose database", "lose", "bot", BotStep("lose database"), "database", hurts=True),
    Press("Lose key store", "lose", "bot", BotStep("lose key store"), "store", hurts=True),
)
HOMESERVER = (
    Press("Start", "start", "homeserver", HomeserverStep("start")),
    Press("Stop", "stop", "homeserver", HomeserverStep("stop")),
    Press("Restart", "restart", "homeserver", HomeserverStep("restart")),
    Press("SIGKILL", "kill", "homeserver", HomeserverStep("kill"), hurts=True),
)


def can(action: str, part: PartFacts) -> bool:
    """Return whether an action makes sense for a part in this state."""
    if action in ("stop", "kill"):
        return part.runs
    if action == "start":
        return not part.runs
    return {"freeze": part.word == "running", "thaw": part.frozen}.get(action, True)


class BreakPane:
    """The pane. One action runs at a time; `acted` is awaited after each, `restored` is called after a restore."""

    def __init__(
        self,
        bridge: Bridge,
        switches: Switches,
        script: Script,
        *,
        acted: Callable[[], Awaitable[None]],
        restored: Callable[[], None],
    ) -> None:
        self._bridge = bridge
        self._script = script
        self._acted = acted
        self._restored = restored
        self._buttons: list[tuple[ui.button, Press | None]] = []
        self._busy = False
        self._part("Break the bot", BOT)
        self._part("Break the homeserver", HOMESERVER)
        with ui.element("section"):
            _head("Break the network between them")
            fault_switches(switches)
        with ui.element("section"):
            self._snapshots()
        self._look()
        ui.timer(EVERY_S, self._look)

    def _part(self, head: str, presses: tuple[Press, ...]) -> None:
        with ui.element("section"):
            _head(head)
            with ui.element("div").classes("stage-buttons"):
                for press in presses:
                    self._button(press.label, partial(self._press, press), press.testid, press)

    def _button(self, label: str, on_click: Callable[[], Any], testid: str, press: Press | None = None) -> None:
        button = ui.button(label, on_click=on_click, color="negative" if press and press.hurts else "primary")
        button.props(f"outline dense no-caps padding='1px 8px' data-testid={testid}")
        self._buttons.append((button, press))

    def _look(self) -> None:
        """Offer only what can be done now."""
        facts = {"bot": self._bridge.bot, "homeserver": self._bridge.homeserver}
        for button, press in self._buttons:
            able = not self._busy and (press is None or can(press.action, facts[press.part]))
            if button.enabled != able:
                button.set_enabled(able)

    def _snapshots(self) -> None:
        _head("Keep and bring back")
        with ui.element("div").classes("stage-row"):
            self._name = ui.input(label="snapshot name", value="before").props("dense outlined data-testid=keep-name")
            self._button("Keep", lambda: self._keep(str(self._name.value or "")), "keep")
        with ui.element("div").classes("stage-row"):
            known = self._bridge.snapshots()
            self._known = ui.select(known, value=known[0] if known else None, label="restore which")
            self._known.props("dense outlined options-dense data-testid=restore-name").style("min-width: 150px")
            self._button("Restore", lambda: self._restore(str(self._known.value or "")), "restore")
        ui.button("Copy as test", on_click=lambda: copy_dialog(self._script)).props(
            "unelevated no-caps dense padding='2px 10px' data-testid=copy-as-test"
        ).classes("q-mt-sm")

    async def _press(self, press: Press) -> None:
        self._script.begin(press.step)
        done = False
        try:
            done = await self._ask(press.action, press.part, press.name)
        finally:
            self._script.end(failed=not done)

    async def _keep(self, name: str) -> None:
        if await self._ask("snapshot", name=name):
            self._known.set_options(self._bridge.snapshots(), value=name)

    async def _restore(self, name: str) -> None:
        if not name:
            ui.notify("there is no snapshot yet", type="warning", position="top-right")
            return
        if await self._ask("restore", name=name):
            self._restored()

    async def _ask(self, action: str, part: str = "", name: str = "") -> bool:
        """Do it, and say how it went; return whether it was done."""
        self._busy = True
        self._look()
        under_way = ui.notification(
            " ".join(word for word in (action, part, name, "…") if word),
            spinner=True,
            timeout=None,
            position="top-right",
        )
        try:
            lines = await self._bridge.ask(action, part, name)
        except HarnessError as error:
            ui.notify(str(error), type="negative", position="top-right", multi_line=True, timeout=10_000)
            return False
        finally:
            self._busy = False
            self._look()
            under_way.dismiss()
            await self._acted()
        ui.notify("; ".join(lines), type="positive", position="top-right")
        return True


def _head(text: str) -> None:
    with ui.element("h2").classes("q-mb-xs"):
        ui.label(text)
