"""Small pieces of the page: acts that may fail, questions in a dialog, and elements with names."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from nicegui import ui
from nicegui.element import Element

from greenroom.errors import HarnessError

E = TypeVar("E", bound=Element)
log = logging.getLogger(__name__)


def named(element: E, **values: str) -> E:
    """Set attributes of an element, `data_testid` for `data-testid`. The values may be any text.

    NiceGUI reads the text of `.props(…)` as a small language, so what other people wrote must not get into that.
    """
    for name, value in values.items():
        element.props[name.replace("_", "-")] = value
    element.update()
    return element


async def tried(act: Awaitable[object]) -> bool:
    """Carry out an act of a person. If it fails, say why in one line, and return False."""
    try:
        await act
    except HarnessError as error:
        problem = next(iter(str(error).splitlines()), type(error).__name__)
    except Exception as error:
        log.exception("an act on the stage failed")
        problem = f"that failed: {type(error).__name__}: {error}".splitlines()[0]
    else:
        return True
    ui.notify(problem, type="negative", position="top", timeout=8000, close_button="close")
    return False


def ask(
    title: str,
    fields: Mapping[str, str],
    act: Callable[..., Awaitable[object]],
    *,
    button: str,
    encryption: bool = False,
) -> None:
    """Ask for texts in a dialog, each by its label and first value; act with them, and close if that worked.

    With `encryption` the dialog also asks for that, and passes it to `act` as `encrypted`.
    """
    with ui.dialog() as dialog, ui.card().classes("w-80"):
        ui.label(title).classes("stage-title")
        inputs = {label: _field(label, value) for label, value in fields.items()}
        sealed = named(ui.checkbox("encrypted"), data_testid="dialog-encrypted") if encryption else None

        async def do() -> None:
            values = {label: str(one.value or "").strip() for label, one in inputs.items()}
            more = {"encrypted": bool(sealed.value)} if sealed else {}
            if await tried(act(values, **more)):
                dialog.close()

        for one in inputs.values():
            one.on("keydown.enter", do)
        with ui.row().classes("w-full justify-end"):
            ui.button("cancel", on_click=dialog.close).props("flat dense no-caps")
            named(ui.button(button, on_click=do).props("dense no-caps"), data_testid="dialog-ok")
    dialog.on("hide", dialog.delete)
    dialog.open()


def _field(label: str, value: str) -> ui.input:
    field = ui.input(label, value=value).props("dense outlined autofocus").classes("w-full")
    return named(field, data_testid=f"dialog-{label}")
