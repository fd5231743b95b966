"""A list of lines that follows its end, unless a person has scrolled up to read."""

from __future__ import annotations

from nicegui import ui

SHOWN = 300
NOTE_PLACE = """(event) => {
  const list = event.target;
  list.dataset.away = list.scrollHeight - list.scrollTop - list.clientHeight > 30 ? "yes" : "";
}"""
FOLLOW = """
const list = document.getElementById("c{id}");
if (list && list.dataset.away !== "yes") requestAnimationFrame(() => list.scrollTop = list.scrollHeight);
"""


class LatestLines:
    """The latest lines, the newest last. They are text: nothing in them is rendered."""

    def __init__(self, testid: str) -> None:
        self._list = ui.element("div").classes("stage-lines").props(f"tabindex=0 role=log data-testid={testid}")
        self._list.on("scroll", js_handler=NOTE_PLACE)

    def add(self, text: str, classes: str) -> ui.label:
        """Add a line at the end; the oldest one goes if there are too many."""
        with self._list:
            line = ui.label(text).classes(replace=classes)
        while len(self._list.default_slot.children) > SHOWN:
            self._list.remove(0)
        return line

    def clear(self) -> None:
        """Remove all lines."""
        self._list.clear()

    def follow(self) -> None:
        """Show the end. Call it once after a batch of lines."""
        ui.run_javascript(FOLLOW.replace("{id}", str(self._list.id)))
