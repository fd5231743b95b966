"""What was done, as a test: to look at, to copy and to download."""

from __future__ import annotations

from nicegui import ui

from greenroom.stage.script import Script
from greenroom.stage.written import as_test

FILE = "test_stage.py"


def copy_dialog(script: Script) -> None:
    """Show the test that repeats the script."""
    text = as_test(script)
    with ui.dialog() as dialog, ui.card().classes("w-full").style("max-width: 1000px"):
        ui.label(f"A test that repeats what you did. Save it as {FILE} and run pytest.")
        with ui.element("div").style("max-height: 60vh; overflow: auto").classes("w-full"):
            ui.label(text).classes("stage-whole").props("data-testid=test-text")  # text: a message in it is no HTML
        with ui.element("div").classes("stage-row"):
            copy = ui.button("Copy", on_click=lambda: _copy(text))
            copy.props("no-caps unelevated data-testid=copy-text")
            ui.button("Download", on_click=lambda: ui.download.content(text, FILE)).props("no-caps outline")
            ui.button("Close", on_click=dialog.close).props("no-caps flat")
    dialog.on("hide", dialog.delete)
    dialog.open()


def _copy(text: str) -> None:
    ui.clipboard.write(text)
    ui.notify("copied")
