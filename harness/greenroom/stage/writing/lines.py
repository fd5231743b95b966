"""The lines of a test, step by step. Where it cannot find again what a step was about, a comment says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from greenroom.stage.script import (
    AnswerSeen,
    BotMoved,
    BotStep,
    FaultStep,
    HomeserverStep,
    LogInStep,
    PersonStep,
    Scene,
    Script,
)
from greenroom.stage.writing.found import Found
from greenroom.stage.writing.names import literal
from greenroom.stage.writing.plan import Asked, ChatMade, Condition, planned

RESERVED = (
    "server", "faults", "person", "bot", "my_bot", "must", "checks", "pytest", "re", "fresh_homeserver", "lose",
    "Path", "shutil", "fault_proxy", "test_stage",
)  # fmt: skip
UNKNOWN_ROOM = "a room that was there before the stage, and is in no blueprint"
PATIENT_S = 60  # after a disturbance; a bot may wait before it tries again
BOT_CALLS = {
    "start": "await my_bot.start_again()",
    "stop": "await my_bot.stop()",
    "kill": "await my_bot.kill()",
    "freeze": "my_bot.pause()",
    "thaw": "my_bot.resume()",
    "restart": "await my_bot.restart()",
}
LOST = {"lose database": "MATRIX_DB_PATH", "lose key store": "MATRIX_STORE_PATH"}
SERVER_CALLS = {"start": "start_again", "stop": "stop", "kill": "kill", "restart": "restart"}


class Lines:
    """Writes the lines after the start of the bot."""

    def __init__(self, script: Script, scene: Scene) -> None:
        self._script = script
        self._plan = planned(script.steps)
        self._found = Found(script, scene, RESERVED)
        self._now = Condition()
        self._patient = False
        acts = (PersonStep, AnswerSeen, BotMoved)
        self._acting = {step.who for step in script.steps if isinstance(step, acts)}
        self._wanted = {step.about.event_id for step in script.steps if isinstance(step, PersonStep) and step.about}
        self._wanted |= {step.question for step in self._plan if isinstance(step, AnswerSeen)}

    def written(self) -> list[str]:
        """Return all lines, with an empty one before each disturbance."""
        lines: list[str] = []
        for step in self._plan:
            breaks = isinstance(step, BotStep | HomeserverStep) or (isinstance(step, FaultStep) and step.on)
            lines += [""] if breaks and lines else []
            lines += self._step(step)
        if self._now.bot_runs and self._now.server_runs:
            lines.append("must.be_running(my_bot)")
        return lines

    def _step(self, step: Any) -> Iterator[str]:
        write: dict[type, Callable[[Any], Iterator[str]]] = {
            BotStep: self._bot,
            HomeserverStep: self._server,
            FaultStep: self._fault,
            LogInStep: self._log_in,
            PersonStep: self._person,
            AnswerSeen: self._answer,
            BotMoved: self._moved,
            Asked: self._asked,
            ChatMade: self._chat,
        }
        yield from write[type(step)](step)
        self._now = self._now.after(step)
        self._patient = self._patient or isinstance(step, BotStep | HomeserverStep | FaultStep)

    @property
    def _patience(self) -> list[str]:
        return [f"timeout_s={PATIENT_S}"] if self._patient else []

    # -- what breaks

    def _bot(self, step: BotStep) -> Iterator[str]:
        if step.action in LOST:
            lost = f"lose(my_bot, {literal(LOST[step.action])})"
            yield from ("await my_bot.kill()", lost, "await my_bot.start_again()") if self._now.bot_runs else (lost,)
            return
        if step.action == "start" and self._now.bot_runs:
            yield "await must.end_by_itself(my_bot)"
        yield BOT_CALLS[step.action]

    def _server(self, step: HomeserverStep) -> Iterator[str]:
        yield f"await server.{SERVER_CALLS[step.action]}()"

    def _fault(self, step: FaultStep) -> Iterator[str]:
        name = self._found.fault(step.name)
        if step.on:
            values = ", ".join(f"{key}={self._fault_value(key, value)}" for key, value in step.values.items())
            yield f"{name} = faults.{step.kind}({values})"
            return
        if step.hits:
            yield f"await {name}.until_hit(watch=[my_bot])"
        yield f"{name}.end()"

    def _fault_value(self, key: str, value: object) -> str:
        return "my_bot" if key == "user" and self._found.is_bot(value) else literal(value)

    # -- people

    def _log_in(self, step: LogInStep) -> Iterator[str]:
        if step.who not in self._acting or self._found.person(step.who):
            return
        encrypted = ["encrypted=True"] if self._script.encrypted else []
        made = step.who in self._found.new
        who = [literal(step.who), "server=server"] if made else [f"server.seeded.account({literal(step.who)})"]
        yield f"{self._found.new_person(step.who)} = await person({', '.join([*who, *encrypted])})"

    def _person(self, step: PersonStep) -> Iterator[str]:
        who = self._found.person(step.who)
        if who is None:
            yield f"# left out: {step.action!r} by somebody who is not logged in"
        elif step.action in ("create direct", "create room"):
            yield from self._create(step, who)
        elif step.action in ("join", "leave") and step.values.get("by"):
            yield from self._invited(step, who)
        else:
            yield from self._in_room(step, who)

    def _in_room(self, step: PersonStep, who: str) -> Iterator[str]:
        yield from self._found.room_line(step.room)
        room = self._found.room(step.room)
        if room is None:
            yield f"# left out: {literal(step.who)} did “{step.action}” in {UNKNOWN_ROOM}"
            return
        if step.about is not None:
            yield from self._found.event_line(step.about, who, room)
        yield self._assigned(step, room, f"await {who}.{self._call(step, room)}")

    def _call(self, step: PersonStep, room: str) -> str:
        about = self._found.event(step.about.event_id) if step.about else ""
        text = self._found.text(str(step.values.get("text", "")))
        user = self._found.user(str(step.values.get("user", "")))
        calls = {
            "say": f"send_text({room}, {text})",
            "reply": f"reply({room}, {about}, {text})",
            "edit": f"edit({room}, {about}, {text})",
            "react": f"react({room}, {about}, {literal(step.values.get('key', ''))})",
            "redact": f"redact({room}, {about})",
            "join": f"join({room})",
            "leave": f"leave({room})",
            "invite": f"invite({room}, {user})",
            "kick": f"kick({room}, {user})",
            "rename": f"rename({room}, {text})",
            "upgrade": f"upgrade({room})",
        }
        return calls[step.action]

    def _assigned(self, step: PersonStep, room: str, call: str) -> str:
        if step.action == "upgrade":
            return f"{self._found.new_room(step.made, f'new {room}')} = {call}"
        if not step.made or step.made not in self._wanted:
            return call
        return f"{self._found.new_event(step.made, 'asked' if step.action == 'say' else 'sent')} = {call}"

    def _create(self, step: PersonStep, who: str) -> Iterator[str]:
        encrypted = ["encrypted=True"] if step.values.get("encrypted") else []
        if step.action == "create direct":
            arguments = [self._found.user(step.values["user"]), *encrypted]
            yield f"{self._found.new_room(step.made, 'chat')} = await {who}.create_direct({', '.join(arguments)})"
            return
        name = str(step.values.get("name", ""))
        invite = ", ".join(self._found.user(user) for user in step.values.get("invite", ()))
        arguments = [*([f"name={literal(name)}"] if name else []), *([f"invite=[{invite}]"] if invite else [])]
        call = f"await {who}.create_room({', '.join([*arguments, *encrypted])})"
        yield f"{self._found.new_room(step.made, name)} = {call}"

    def _invited(self, step: PersonStep, who: str) -> Iterator[str]:
        """Write that a person waits for an invite, and accepts or declines it."""
        yield from self._found.room_line(step.room)
        watch = ", watch=[my_bot]" if self._found.is_bot(step.values["by"]) else ""
        if room := self._found.room(step.room):
            yield f"await {who}.{step.action}(await must.see({who}, checks.invited(room={room}){watch}))"
            return
        name = str(step.values.get("name", ""))
        by_name = f", name={literal(name)}" if name and self._found.stable(name).whole else ""
        wanted = f"checks.invited({self._found.user(step.values['by'])}{by_name})"
        room = self._found.new_room(step.room, name)
        yield f"{room} = await must.see({who}, {wanted}{watch})"
        yield f"await {who}.{step.action}({room})"

    # -- what was seen

    def _answer(self, step: AnswerSeen) -> Iterator[str]:
        yield from self._found.room_line(step.room)
        who, room = self._found.person(step.who), self._found.room(step.room)
        if who is None or room is None:
            yield f"# left out: an answer in {UNKNOWN_ROOM}"
            return
        expected = self._found.expected(step.text, step.asked)
        after = [f"after={event}"] if (event := self._found.event(step.question)) else []
        if self._now.bot_runs:
            call = f"await must.say({', '.join([who, 'my_bot', room, *expected, *after, *self._patience])})"
        else:
            seen = ", ".join([*expected, "sender=my_bot.user_id", f"room={room}", *after])
            call = f"await must.see({', '.join([who, f'checks.answer({seen})', *self._patience])})"
        yield self._kept(step, call)
        self._patient = not self._now.is_quiet

    def _asked(self, step: Asked) -> Iterator[str]:
        yield from self._found.room_line(step.question.room)
        who, room = self._found.person(step.question.who), self._found.room(step.question.room)
        if who is None or room is None:
            yield from self._person(step.question)
            return
        text = self._found.text(step.question.values["text"])
        expected = self._found.expected(step.answer.text, step.answer.asked)
        call = f"await must.answer({', '.join([who, 'my_bot', room, text, *expected, *self._patience])})"
        yield self._kept(step.answer, call)
        self._patient = False

    def _kept(self, step: AnswerSeen, call: str) -> str:
        if step.event_id not in self._wanted:
            return call
        return f"{self._found.new_event(step.event_id, 'answer', '.event_id')} = {call}"

    def _chat(self, step: ChatMade) -> Iterator[str]:
        who = self._found.person(step.made.who)
        if who is None:
            yield from self._person(step.made)
            return
        encrypted = ["encrypted=True"] if step.made.values.get("encrypted") else []
        call = f"await must.chat({', '.join([who, 'my_bot', *encrypted, *self._patience])})"
        yield f"{self._found.new_room(step.made.made, 'chat')} = {call}"

    def _moved(self, step: BotMoved) -> Iterator[str]:
        who, room = self._found.person(step.who), self._found.room(step.room)
        if who and room:
            yield f"await must.{step.membership}({', '.join([who, 'my_bot', room, *self._patience])})"
