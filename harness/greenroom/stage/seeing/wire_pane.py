"""The wire: the bot's requests as they happen, marked, filtered, and whole on a click."""

from __future__ import annotations

from collections import deque
from functools import partial

from nicegui import ui

from greenroom.faults import Entry, Transcript
from greenroom.stage.look import EVERY_S
from greenroom.stage.seeing.latest_lines import SHOWN, LatestLines
from greenroom.stage.seeing.wire_rows import is_idle, mark_of, row_of, whole


class Wire:
    """The latest requests of a transcript. Open ones are looked at again until they have ended."""

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript
        self._position = 0
        self._kept: deque[Entry] = deque(maxlen=SHOWN * 4)  # some are folded
        self._unfinished: list[Entry] = []
        self._rows: dict[int, ui.label] = {}  # of the open ones, by the identity of their entry
        with ui.element("div").classes("stage-row"):
            self._fold = ui.switch("fold idle syncs", value=True, on_change=self._again).props("dense")
            self._fold.props("data-testid=fold-syncs")
            self._text = ui.input(label="filter by text", on_change=self._again)
            self._text.props("dense outlined clearable debounce=200 data-testid=wire-filter")
        self.lines = LatestLines("wire")
        self._dialog, self._whole = _dialog()
        ui.timer(EVERY_S, self._look)

    def _look(self) -> None:
        new, self._position = self._transcript.since(self._position)
        ended = [entry for entry in self._unfinished if entry.duration_s is not None]
        if not new and not ended:
            return
        self._unfinished = [e for e in (*self._unfinished, *new) if e.duration_s is None]
        self._kept.extend(new)
        for entry in ended:
            self._finish(entry)
        for entry in new[-SHOWN:]:
            self._show(entry)
        self.lines.follow()

    def _finish(self, entry: Entry) -> None:
        row = self._rows.pop(id(entry), None)
        if row is None or row.is_deleted:
            self._show(entry)
        else:
            row.set_text(row_of(entry))
            row.classes(replace=f"wire {mark_of(entry)}")

    def _show(self, entry: Entry) -> None:
        if (self._fold.value and is_idle(entry)) or not self._fits(entry):
            return
        row = self.lines.add(row_of(entry), f"wire {mark_of(entry)}")
        row.props("role=button tabindex=0")
        for event in ("click", "keydown.enter"):
            row.on(event, partial(self._open, entry))
        if entry.duration_s is None:
            self._rows[id(entry)] = row

    def _fits(self, entry: Entry) -> bool:
        wanted = str(self._text.value or "").lower()
        return wanted in row_of(entry).lower() or wanted in entry.path.lower()

    def _again(self) -> None:
        self.lines.clear()
        self._rows.clear()
        for entry in [e for e in self._kept if not (self._fold.value and is_idle(e)) and self._fits(e)][-SHOWN:]:
            self._show(entry)
        self.lines.follow()

    def _open(self, entry: Entry) -> None:
        self._whole.set_text(whole(entry))
        self._dialog.open()


def _dialog() -> tuple[ui.dialog, ui.label]:
    with ui.dialog() as dialog, ui.card().classes("w-full").style("max-width: 900px"):
        text = ui.label().classes("stage-whole w-full").props("data-testid=whole-request")
        ui.button("Close", on_click=dialog.close).props("flat")
    return dialog, text
