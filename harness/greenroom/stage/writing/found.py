"""How a test names what a script is about: variables of people, rooms and events, and where they are found again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from greenroom.stage.script import LogInStep, Quoted, Scene, Script
from greenroom.stage.writing.names import Names, literal
from greenroom.stage.writing.stable import Stable, stable


class Found:
    """The variables that exist so far, by the Matrix ids that they stand for."""

    def __init__(self, script: Script, scene: Scene, reserved: Iterable[str]) -> None:
        self._scene, self._seeded = scene, script.seeded
        self._names = Names(reserved)
        self._events: dict[str, str] = {}  # event id -> the expression for it
        self.new = [  # whose accounts a test makes, so that they have other ids there
            step.who
            for step in script.steps
            if isinstance(step, LogInStep) and (step.new or step.who not in scene.accounts)
        ]

    # -- people

    def person(self, name: str) -> str | None:
        """Return the variable of a person who is logged in."""
        return self._names.get(f"person {name}")

    def new_person(self, name: str) -> str:
        """Return the variable of a person who logs in."""
        return self._names.give(f"person {name}", name, "somebody")

    def user(self, user_id: str) -> str:
        """Return the expression for a user id."""
        name = user_id[1:].partition(":")[0]
        if user_id == self.user_id(self._scene.bot):
            return "my_bot.user_id"
        if user_id == self.user_id(name) and (variable := self.person(name)):
            return f"{variable}.user_id"
        if user_id == self.user_id(name) and name in self._scene.accounts:
            return f"server.seeded.account({literal(name)}).user_id"
        return literal(user_id)

    def user_id(self, name: str) -> str:
        """Return the id that an account had on the stage."""
        return f"@{name}:{self._scene.server_name}"

    def is_bot(self, user_id: object) -> bool:
        """Return whether that is the bot."""
        return user_id == self.user_id(self._scene.bot)

    # -- rooms and events

    def room(self, room: str) -> str | None:
        """Return the variable of a room."""
        return self._names.get(room)

    def new_room(self, room: str, wanted: str) -> str:
        """Return the variable of a room that is made or found now."""
        return self._names.give(room, wanted, "room")

    def room_line(self, room: str) -> Iterator[str]:
        """Write where a room of the blueprint is found, once."""
        if self.room(room) is None and room in self._seeded:
            key = self._seeded[room]
            yield f"{self.new_room(room, key)} = server.seeded.room({literal(key)})"

    def event(self, event_id: str) -> str | None:
        """Return the expression for an event id."""
        return self._events.get(event_id)

    def new_event(self, event_id: str, wanted: str, attribute: str = "") -> str:
        """Return the variable of an event that is made or found now; its id is the variable, or an attribute of it."""
        name = self._names.give(event_id, wanted, wanted)
        self._events[event_id] = f"{name}{attribute}"
        return name

    def event_line(self, quoted: Quoted, who: str, room: str) -> Iterator[str]:
        """Write how an event is found that no step has made: by its text."""
        if quoted.event_id not in self._events:
            wanted = [*self.expected(quoted.text), f"sender={self.user(quoted.sender)}", f"room={room}"]
            name = self.new_event(quoted.event_id, "message", ".event_id")
            yield f"{name} = await must.see({who}, checks.message({', '.join(wanted)}))"

    def fault(self, name: str) -> str:
        """Return the variable of a fault."""
        return self._names.give(f"fault {name}", name, "fault")

    # -- texts

    def text(self, text: str) -> str:
        """Return a text as Python writes it; accounts made on the stage have other ids in a test."""
        for name in self.new:
            if self.user_id(name) in text and (variable := self.person(name)):
                parts = [literal(part) for part in text.split(self.user_id(name))]
                return f" + {variable}.user_id + ".join(parts)
        return literal(text)

    def expected(self, text: str, asked: str = "") -> list[str]:
        """Return the arguments that say what a text must be: all of it, a part, or nothing."""
        says = self.stable(text, asked)
        if says.whole:
            return [literal(says.whole)]
        return [f"containing={literal(says.part)}"] if says.part else []

    def stable(self, text: str, asked: str = "") -> Stable:
        """Return what stays of a text in every run."""
        return stable(text, asked=asked, varying=self.new)
