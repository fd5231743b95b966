"""The timeline of one room: its lines, and what a person can do with each of them.

Lines are kept by event and built again only if they changed. Everything in them is a label, so it is text and no HTML.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial

from nicegui import ui
from nicegui.element import Element
from nicegui.events import GenericEventArguments

from greenroom.people.seen import SeenEvent
from greenroom.stage.being.asking import ask, named, tried
from greenroom.stage.being.player import Player
from greenroom.stage.being.rooms import room_name
from greenroom.stage.being.shown import Shown, timeline

EMOJI = ("👍", "❤️", "😂", "✅", "❌")


class TimelinePane:
    """The chosen room of one player, with the field in which one says something."""

    def __init__(self, player: Player) -> None:
        self._player = player
        self._room = ""
        self._lines: dict[str, tuple[Shown, Element]] = {}
        self._about: tuple[str, SeenEvent] | None = None  # "reply" or "edit", and the message
        talk = named(ui.element("div").classes("stage-talk"), data_testid=f"timeline-{player.name}")
        named(talk, role="log", aria_label=f"messages that {player.name} sees", tabindex="0")
        with talk, ui.element("div"):
            self._hint = ui.label().classes("stage-quiet")
            self._events = ui.element("div").classes("stage-events")
        with ui.element("div").classes("stage-row w-full") as self._about_line:
            self._about_text = ui.label().classes("stage-quiet stage-clip").style("flex: 1")
            named(ui.button("cancel", on_click=self._forget_about).props("flat dense size=sm"), aria_label="cancel")
        self._composers: dict[str, tuple[Element, ui.input]] = {}  # by room, so that what is typed stays in its room
        self._below = ui.element("div").classes("w-full")
        self.choose("")

    def choose(self, room: str) -> None:
        """Show another room; none if it is empty."""
        self._forget_about()
        self._room = room
        self._lines.clear()
        self._events.clear()
        self.look()

    def look(self) -> None:
        """Show what is new."""
        seen, server_name = self._player.person.seen, self._player.person.server.server_name
        lines = timeline(seen, self._room, server_name) if self._room else []
        self._show_composer(room_name(seen, self._room, server_name) if self._room in seen.joined else None)
        self._hint.set_text(
            "" if lines else "choose a room, or make one" if not self._room else "nothing was said here"
        )
        self._hint.set_visibility(not lines)
        for event_id in self._lines.keys() - {line.event.event_id for line in lines}:
            self._lines.pop(event_id)[1].delete()
        for index, line in enumerate(lines):
            before, element = self._lines.get(line.event.event_id, (None, None))
            if element is None:
                with self._events:
                    element = ui.element("article")
                element.move(target_index=index)
            if before != line:
                self._fill(element, line)
                self._lines[line.event.event_id] = line, element

    # -- one line

    def _fill(self, element: Element, line: Shown) -> None:
        element.clear()
        element.classes(replace=f"stage-event {'change' if line.is_change else line.kind}{' own' if line.own else ''}")
        named(element, data_testid="change" if line.is_change else "message", data_sender=line.sender)
        with element:
            if line.is_change:
                ui.label(f"{line.at}  {line.sender} {line.says}").classes("stage-text")
                return
            self._head(element, line)
            if line.quote:
                quoted = f"{line.quote.sender}: {line.quote.text}" if line.quote.sender else line.quote.text
                ui.label(f"↪ {quoted}").classes("stage-quote")
            look = "removed" if line.redacted else line.kind
            says = f"{line.sender} {line.says}" if line.kind == "emote" and not line.redacted else line.says
            named(ui.label(says).classes(f"stage-text {look}"), data_testid="text")
            if line.reactions:
                self._reactions(line)

    def _head(self, element: Element, line: Shown) -> None:
        marks = [line.at, *(["notice"] if line.kind == "notice" else []), *(["edited"] if line.edited else [])]
        with ui.element("div").classes("stage-meta"):
            ui.label(line.sender).classes("sender")
            for mark in marks:
                ui.label(mark)
            if line.encryption:
                look = "" if line.encryption == "encrypted" else "stage-problem"
                named(ui.label(line.encryption).classes(look), data_testid="encryption")
            if not line.redacted:
                more = ui.element("button").classes("stage-more").on("click", partial(self._acts, element, line))
                named(
                    more,
                    type="button",
                    data_testid="more",
                    aria_label=f"what to do with {line.sender}: {line.says[:40]}",
                )
                with more:
                    ui.label("⋯")

    def _reactions(self, line: Shown) -> None:
        with ui.element("div").classes("stage-reactions"):
            for one in line.reactions:
                chip = ui.element("button").classes("stage-reaction")
                chip.on("click", partial(self._react, line, one.key))
                named(chip, type="button", data_testid="reaction", title=f"{one.key} by {', '.join(one.by)}")
                with chip:
                    ui.label(f"{one.key} {one.count}")

    def _acts(self, element: Element, line: Shown) -> None:
        """Show or hide what can be done with a message, below it."""
        shown = [child for child in element if "stage-acts" in child.classes]
        if shown:
            shown[0].delete()
            return
        with element, ui.element("div").classes("stage-acts"):
            self._button("reply", partial(self._take_up, "reply", line))
            for key in EMOJI:
                self._button(key, partial(self._react, line, key))
            self._button("react with …", partial(self._ask_reaction, line))
            if line.own and line.kind == "message" and line.encryption != "could not be decrypted":
                self._button("edit", partial(self._take_up, "edit", line))
            self._button("remove", partial(self._remove, line))

    def _button(self, text: str, act: Callable[[], object]) -> None:
        named(ui.button(text, on_click=act).props("flat dense size=sm no-caps"), data_testid=f"do-{text}")

    def _ask_reaction(self, line: Shown) -> None:
        async def react(fields: Mapping[str, str]) -> None:
            await self._player.react(self._room, line.event, fields["with"])

        ask("React", {"with": ""}, react, button="react")

    async def _react(self, line: Shown, key: str) -> None:
        await tried(self._player.react(self._room, line.event, key))

    async def _remove(self, line: Shown) -> None:
        await tried(self._player.redact(self._room, line.event))

    # -- saying something

    def _show_composer(self, name: str | None) -> None:
        """Show the field of the chosen room, which is called `name`; none if this person is not in it."""
        if name is not None and self._room not in self._composers:
            with self._below:
                self._composers[self._room] = self._composer(self._room)
        for room, (row, field) in self._composers.items():
            row.set_visibility(room == self._room and name is not None)
            label = f"say something in {name}"
            if room == self._room and name is not None and field.props.get("label") != label:
                named(field, label=label)

    def _composer(self, room: str) -> tuple[Element, ui.input]:
        with ui.element("div").classes("stage-row w-full no-wrap") as row:
            field = ui.input(label="").props("dense outlined").style("flex: 1")
            named(field, data_testid=f"say-{self._player.name}")
            # The browser's own text is sent, and cleared there: the copy here may lag behind what is typed.
            take = f"() => {{ const it = getElement({field.id}); emit(it.inputValue); it.inputValue = ''; }}"
            field.on("keydown.enter", partial(self._send, room), js_handler=take)
            button = ui.button("Send").props("dense no-caps").on("click", partial(self._send, room), js_handler=take)
            named(button, data_testid=f"send-{self._player.name}")
        return row, field

    def _put(self, text: str, room: str) -> None:
        """Put a text into the field of a room, in the browser: NiceGUI sends no value that it has sent before."""
        if room in self._composers:
            field = self._composers[room][1]
            field.client.run_javascript(f"getElement({field.id}).inputValue = {json.dumps(text)}")

    def _take_up(self, what: str, line: Shown) -> None:
        """Reply to a message or edit it with what is typed next."""
        self._about = what, line.event
        self._about_text.set_text(f"{'reply to' if what == 'reply' else 'edit'} {line.sender}: {line.says[:60]}")
        self._about_line.set_visibility(True)
        if what == "edit":
            self._put(line.says, self._room)
        if self._room in self._composers:
            self._composers[self._room][1].run_method("focus")

    def _forget_about(self) -> None:
        if self._about and self._about[0] == "edit":
            self._put("", self._room)
        self._about = None
        self._about_line.set_visibility(False)

    async def _send(self, room: str, event: GenericEventArguments) -> None:
        text, about = str(event.args or "").strip(), self._about if room == self._room else None
        if not text or not room:
            return
        self._about = None
        self._about_line.set_visibility(False)
        player = self._player
        act = {"reply": player.reply, "edit": player.edit}
        done = await tried(act[about[0]](room, about[1], text) if about else player.say(room, text))
        if not done:
            self._put(text, room)  # so that it can be said again
