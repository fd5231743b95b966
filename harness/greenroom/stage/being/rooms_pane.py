"""The rooms of one person: open invites on top, then the tree of rooms, with what one can do in the chosen one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from functools import partial

from nicegui import ui
from nicegui.element import Element

from greenroom.stage.being.asking import ask, named, tried
from greenroom.stage.being.player import Player
from greenroom.stage.being.rooms import InviteLine, RoomLine, members, open_invites, replaced_by, room_name, room_tree
from greenroom.stage.being.shown import short_name

SAID = ("m.room.message", "m.room.encrypted")


class RoomsPane:
    """The list of rooms. `chosen` is the room that the timeline shows."""

    def __init__(self, player: Player, choose: Callable[[str], None]) -> None:
        self._player = player
        self._choose = choose
        self.chosen = ""
        self._rows: dict[str, _Row] = {}
        self._read: dict[str, int] = {}  # room id -> messages that were there when it was looked at last
        self._begun = False
        rooms = ui.element("div").classes("stage-rooms")
        self._list = named(
            rooms, role="group", aria_label=f"rooms of {player.name}", data_testid=f"rooms-{player.name}"
        )
        self._none = ui.label("no rooms yet").classes("stage-quiet")
        with ui.element("div").classes("stage-row w-full no-wrap") as self._head:
            self._title = ui.label().classes("stage-title stage-clip")
            self._members = ui.label().classes("stage-mark stage-clip").style("flex: 1")
            menu = ui.button("Room ⋯").props("dense flat size=sm no-caps")
            named(menu, data_testid=f"room-menu-{player.name}", aria_label="what to do in this room")
            with menu, ui.menu():
                for text, act in (
                    ("invite …", self._ask_invite),
                    ("kick …", self._ask_kick),
                    ("rename …", self._ask_rename),
                    ("upgrade", partial(self._do, self._upgrade)),
                    ("leave", partial(self._do, self._leave)),
                ):
                    named(ui.menu_item(text, act), data_testid=f"room-{text.split()[0]}")

    @property
    def _server_name(self) -> str:
        return self._player.person.server.server_name

    def choose(self, room: str) -> None:
        """Choose a room, and show it."""
        self.chosen = room
        self._read[room] = self._counts().get(room, 0)
        self._choose(room)
        self.look()

    def look(self) -> None:
        """Show what is new."""
        seen = self._player.person.seen
        counts = self._counts()
        if not self._begun:
            self._begun, self._read = True, dict(counts)
        self._read[self.chosen] = counts.get(self.chosen, 0)
        invites, tree = open_invites(seen, self._server_name), room_tree(seen, self._server_name)
        new = {room: count - self._read.get(room, 0) for room, count in counts.items()}
        self._show_head()
        lines: dict[str, InviteLine | RoomLine] = {f"invite {one.room_id}": one for one in invites}
        lines |= {f"room {one.room_id} {number}": one for number, one in _numbered(tree)}
        if [*lines] != [*self._rows]:
            self._arrange(lines)
        for key, line in lines.items():
            if isinstance(line, RoomLine):
                self._rows[key].show(line, new.get(line.room_id, 0), chosen=line.room_id == self.chosen)
        self._none.set_visibility(not lines)

    def _arrange(self, lines: Mapping[str, InviteLine | RoomLine]) -> None:
        """Make the rows that are missing, remove those that are over, and put them in order.

        A row that stays is never built anew: a click that is under way to it would be lost.
        """
        before, self._rows = self._rows, {}
        for key in before.keys() - lines.keys():
            before[key].element.delete()
        for index, (key, line) in enumerate(lines.items()):
            if key not in before:
                with self._list:
                    row = _Row(self._invite(line) if isinstance(line, InviteLine) else self._room(line))
                row.element.move(target_index=index)
            else:
                row = before[key]
                if [*before].index(key) != index:
                    row.element.move(target_index=index)
            self._rows[key] = row

    def _counts(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for event in self._player.person.seen.timeline:
            if event.type in SAID:
                counts[event.room_id] = counts.get(event.room_id, 0) + 1
        return counts

    def _show_head(self) -> None:
        seen, room = self._player.person.seen, self.chosen
        self._head.set_visibility(room in seen.joined)
        if room in seen.joined:
            names = sorted(short_name(user, self._server_name) for user in members(seen, room, "join"))
            self._title.set_text(room_name(seen, room, self._server_name))
            replaced = "replaced by another room · " if replaced_by(seen, room) else ""
            sealed = "encrypted · " if seen.is_encrypted(room) else ""
            self._members.set_text(f"{replaced}{sealed}{', '.join(names)}")

    # -- the lines

    def _invite(self, invite: InviteLine) -> Element:
        with named(ui.element("div").classes("stage-invite"), data_testid="invite") as element:
            ui.label("invite").classes("stage-new")
            ui.label(f"{invite.name}, from {invite.by}").classes("stage-clip").style("flex: 1")
            accept = ui.button("accept", on_click=partial(self._accept, invite.room_id)).props("dense size=sm")
            named(accept, data_testid=f"accept-{invite.name}", aria_label=f"accept {invite.name}")
            decline = ui.button("decline", on_click=partial(self._decline, invite.room_id)).props("dense flat size=sm")
            named(decline, data_testid=f"decline-{invite.name}", aria_label=f"decline {invite.name}")
        return element

    def _room(self, line: RoomLine) -> Element:
        row = ui.element("button").classes("stage-room").on("click", partial(self.choose, line.room_id))
        return named(row, type="button")

    async def _accept(self, room: str) -> None:
        if await tried(self._player.join(room)):
            self.choose(room)

    async def _decline(self, room: str) -> None:
        await tried(self._player.leave(room))

    # -- in the chosen room

    async def _do(self, act: Callable[[], Awaitable[object]]) -> None:
        await tried(act())

    async def _upgrade(self) -> None:
        self.choose(await self._player.upgrade(self.chosen))

    async def _leave(self) -> None:
        await self._player.leave(self.chosen)

    def _ask_invite(self) -> None:
        async def invite(fields: Mapping[str, str]) -> None:
            await self._player.invite(self.chosen, self._player.whole_id(fields["who"]))

        ask("Invite somebody", {"who": ""}, invite, button="invite")

    def _ask_kick(self) -> None:
        async def kick(fields: Mapping[str, str]) -> None:
            await self._player.kick(self.chosen, self._player.whole_id(fields["who"]))

        ask("Kick somebody", {"who": ""}, kick, button="kick")

    def _ask_rename(self) -> None:
        async def rename(fields: Mapping[str, str]) -> None:
            await self._player.rename(self.chosen, fields["name"])

        now = room_name(self._player.person.seen, self.chosen, self._server_name)
        ask("Rename the room", {"name": now}, rename, button="rename")


class _Row:
    """One row of the list. That of a room shows its name, its marks, and how much is new in it."""

    def __init__(self, element: Element) -> None:
        self.element = element
        self._shown: object = None

    def show(self, line: RoomLine, new: int, *, chosen: bool) -> None:
        """Show a room as it is now."""
        if self._shown == (line, new, chosen):
            return
        self._shown = (line, new, chosen)
        self.element.clear()  # the labels; the button stays, with its click
        self.element.style(f"padding-left: {8 + 16 * line.depth}px")
        named(self.element, data_testid=f"room-{line.name}", aria_current="true" if chosen else "false")
        with self.element:
            ui.label(line.name).classes("stage-clip")
            for mark in line.marks:
                ui.label(mark).classes("stage-mark")
            if new > 0:
                ui.label(f"{new} new").classes("stage-new")


def _numbered(tree: Iterable[RoomLine]) -> Iterator[tuple[int, RoomLine]]:
    """Yield each room with how often it came before: two Spaces may list it."""
    times: Counter[str] = Counter()
    for line in tree:
        yield times[line.room_id], line
        times[line.room_id] += 1
