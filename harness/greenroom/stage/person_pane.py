"""Be a person: the left side of the page. Each column is somebody who is logged in."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from nicegui import ui
from nicegui.element import Element

from greenroom.stage.being.asking import ask, named, tried
from greenroom.stage.being.look import CSS
from greenroom.stage.being.player import Player
from greenroom.stage.being.rooms_pane import RoomsPane
from greenroom.stage.being.timeline_pane import TimelinePane
from greenroom.stage.look import EVERY_S
from greenroom.stage.people import People


def person_pane(people: People) -> None:
    """Build the pane into the current container; it updates itself."""
    ui.add_css(CSS)
    _PersonPane(people)


class _PersonPane:
    """Who can log in, and a column for each who is."""

    def __init__(self, people: People) -> None:
        self._people = people
        self._columns: dict[str, tuple[_Column, Element]] = {}
        self._offered: list[str] | None = None
        with ui.element("div").classes("stage-row w-full"):
            ui.label("Be a person").classes("stage-title")
            self._choices = ui.element("div").classes("stage-row")
            named(self._choices, role="group", aria_label="log in as")
            new = ui.button("New person …", on_click=self._ask_new).props("dense flat no-caps")
            named(new, data_testid="new-person")
        self._nobody = ui.label("Choose somebody to log in. Several can stand side by side.").classes("stage-quiet")
        self._row = named(ui.element("div").classes("stage-people"), data_testid="people")
        self.look()
        ui.timer(EVERY_S, self.look)

    def look(self) -> None:
        """Show who can log in and who is here, and let each column show what is new."""
        players = self._people.players
        offered = [one.localpart for one in self._people.accounts() if one.localpart not in players]
        if offered != self._offered:
            self._offered = offered
            self._choices.clear()
            with self._choices:
                for name in offered:
                    button = ui.button(name, on_click=partial(self._log_in, name)).props("dense outline no-caps")
                    named(button, data_testid=f"log-in-{name}", aria_label=f"log in as {name}")
        for name, (column, element) in [*self._columns.items()]:
            if players.get(name) is not column.player:
                element.delete()
                del self._columns[name]
        for name, player in players.items():
            if name not in self._columns:
                with self._row:
                    element = named(ui.element("section").classes("stage-who"), data_testid=f"person-{name}")
                    named(element, aria_label=name)
                with element:
                    self._columns[name] = _Column(self._people, player), element
            self._columns[name][0].look()
        self._nobody.set_visibility(not players)

    async def _log_in(self, name: str) -> None:
        await tried(self._people.log_in(name))
        self.look()

    def _ask_new(self) -> None:
        async def register(fields: Mapping[str, str]) -> None:
            await self._people.register(fields["name"])
            self.look()

        ask("A new person", {"name": ""}, register, button="register")


class _Column:
    """One person."""

    def __init__(self, people: People, player: Player) -> None:
        self.player = player
        self._people = people
        self._revision = -1
        with ui.element("div").classes("stage-row w-full no-wrap"):
            ui.label(player.name).classes("stage-title")
            ui.label(player.user_id).classes("stage-mark stage-clip").style("flex: 1")
            chat = ui.button("New chat …", on_click=self._ask_chat).props("dense flat size=sm no-caps")
            named(chat, data_testid=f"new-chat-{player.name}")
            room = ui.button("New room …", on_click=self._ask_room).props("dense flat size=sm no-caps")
            named(room, data_testid=f"new-room-{player.name}")
            out = ui.button("Log out", on_click=partial(self._log_out)).props("dense flat size=sm no-caps")
            named(out, data_testid=f"log-out-{player.name}")
        with ui.element("div").classes("stage-row w-full") as self._trouble:
            self._problem = named(
                ui.label().classes("stage-problem"), role="alert", data_testid=f"problem-{player.name}"
            )
            self._again = ui.button("Log in again", on_click=self._log_in_again).props("dense outline size=sm no-caps")
            named(self._again, data_testid=f"log-in-again-{player.name}")
        self._rooms = RoomsPane(player, lambda room: self._timeline.choose(room))
        self._timeline = TimelinePane(player)

    def look(self) -> None:
        """Show what is new, if anything is."""
        if self._revision == self.player.revision:
            return
        self._revision = self.player.revision
        self._trouble.set_visibility(bool(self.player.problem))
        self._problem.set_text(self.player.problem)
        self._again.set_visibility(self.player.is_over)
        self._rooms.look()
        self._timeline.look()

    async def _log_out(self) -> None:
        await tried(self._people.log_out(self.player.name))

    async def _log_in_again(self) -> None:
        await tried(self._people.log_in(self.player.name))

    def _ask_chat(self) -> None:
        async def make(fields: Mapping[str, str], *, encrypted: bool) -> None:
            self._rooms.choose(
                await self.player.create_direct(self.player.whole_id(fields["with"]), encrypted=encrypted)
            )

        bot = self._people.bot_user_id()[1:].partition(":")[0]
        ask("A direct chat", {"with": bot}, make, button="invite", encryption=True)

    def _ask_room(self) -> None:
        async def make(fields: Mapping[str, str], *, encrypted: bool) -> None:
            invite = [self.player.whole_id(name) for name in fields["invite"].replace(",", " ").split()]
            self._rooms.choose(await self.player.create_room(fields["name"], encrypted=encrypted, invite=invite))

        ask("A room", {"name": "", "invite": ""}, make, button="make it", encryption=True)
