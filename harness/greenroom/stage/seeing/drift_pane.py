"""The drift of the reference bot as a table. It is compared on a button and after actions, never by a timer."""

from __future__ import annotations

from collections.abc import Callable

from nicegui import ui

from greenroom.errors import HarnessError
from greenroom.stage.bridge import Bridge, Drift

COLUMNS = [
    {"name": name, "label": label, "field": name, "align": "left", "sortable": True}
    for name, label in (("room", "Room"), ("outcome", "A start would"), ("reason", "Because"))
]
STALE = "not compared yet"


class DriftPane:
    """The table. An action makes it stale; a stale one is compared anew when a person sees it."""

    def __init__(self, bridge: Bridge, is_seen: Callable[[], bool]) -> None:
        self._bridge = bridge
        self._is_seen = is_seen
        self._stale, self._busy = True, False
        with ui.element("div").classes("stage-row"):
            self._button = ui.button("Compare now", on_click=self.compare)
            self._button.props("outline dense no-caps data-testid=compare")
            self._verdict = ui.label(STALE).props("data-testid=drift-verdict aria-live=polite")
        self._why = ui.label().classes("stage-quiet")
        self._table = ui.table(columns=COLUMNS, rows=[], row_key="key").props("dense flat wrap-cells data-testid=drift")
        self._table.classes("w-full").style("overflow: auto")
        self._table.set_visibility(False)

    async def stale(self) -> None:
        """Note that something was done to the bot or the homeserver."""
        self._stale = True
        await self.look()

    async def look(self) -> None:
        """Compare if what is shown is stale and seen."""
        if self._stale and self._is_seen():
            await self.compare()

    async def compare(self) -> None:
        """Compare, and show what was found; once more if something was done meanwhile."""
        self._stale = True
        if self._busy:
            return
        self._busy = True
        self._verdict.set_text("comparing …")
        self._button.disable()
        try:
            while self._stale:
                self._stale = False
                self._show(await self._found())
        finally:
            self._busy = False
            self._button.enable()

    async def _found(self) -> Drift:
        try:
            return await self._bridge.drift()
        except HarnessError as error:
            return Drift("cannot tell", str(error))

    def _show(self, drift: Drift) -> None:
        colour = {"in step": "stage-good", "drift": "stage-bad"}.get(drift.verdict, "stage-warn")
        self._verdict.set_text(drift.verdict)
        self._verdict.classes(replace=f"stage-chip {colour}")
        self._why.set_text(drift.reason)
        rows = [{"key": n, "room": r.room, "outcome": r.outcome, "reason": r.reason} for n, r in enumerate(drift.rows)]
        self._table.rows = rows
        self._table.set_visibility(bool(rows))
