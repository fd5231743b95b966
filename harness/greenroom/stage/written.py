"""A script as the text of a pytest file that repeats it with Greenroom's fixtures.

A pure function of the script. Where a test cannot find again what a step was about, it says so in a comment.
"""

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
    Quoted,
    Scene,
    Script,
)
from greenroom.stage.writing.names import Names, literal
from greenroom.stage.writing.plan import Asked, ChatMade, Condition, planned
from greenroom.stage.writing.stable import Stable, stable

RESERVED = (
    "server", "faults", "person", "bot", "my_bot", "must", "checks", "pytest", "re", "fresh_homeserver", "lose",
    "Path", "shutil", "fault_proxy", "test_stage",
)  # fmt: skip
UNKNOWN_ROOM = "a room that was there before the stage, and is in no blueprint"
PATIENT_S = 60  # after a disturbance; a bot may wait before it tries again
LOSE = '''

def lose(bot, variable):
    """Delete what the bot keeps at the path that a variable of its environment names."""
    path = Path(bot.env[variable])
    for file in path.parent.glob(f"{path.name}*"):
        shutil.rmtree(file) if file.is_dir() else file.unlink()
'''
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


def as_test(script: Script) -> str:
    """Return the script as a test file. It passes with a bot that does again what it did."""
    scene = script.scene()
    body = "\n".join(_Writer(script, scene).lines())
    uses = {name: used in body for name, used in (("checks", "checks."), ("must", "must."), ("re", "re.compile("))}
    has_faults = any(isinstance(step, FaultStep) for step in script.steps)
    loses = any(isinstance(step, BotStep) and step.action in LOST for step in script.steps)
    standard = [line for line, wanted in (("import re", uses["re"]), ("import shutil", loses)) if wanted]
    standard += ["from pathlib import Path"] if loses else []
    ours = ", ".join(name for name in ("checks", "must") if uses[name])
    own = [f"from greenroom import {ours}"] if ours else []
    own += ["from greenroom.faults import fault_proxy"] if has_faults else []
    blocks = ["\n".join(block) for block in (standard, ["import pytest"], own) if block]
    imports = "\n\n".join(blocks)
    return f"{_docstring(scene)}\n\n{imports}\n{LOSE if loses else ''}\n\n{_head(scene, has_faults)}{body}\n"


def _docstring(scene: Scene) -> str:
    printable = "".join(letter for letter in " ".join(scene.made_by.split()) if letter.isprintable())
    made_by = printable.replace("\\", "").replace('"', "'")
    return (
        '"""What was done on the stage, as a test.\n\n'
        f"Written by: {made_by}\n"
        "Keep this file in the folder of the project, and run it from there: pytest test_stage.py\n"
        '"""'
    )


def _head(scene: Scene, has_faults: bool) -> str:
    """Return the test down to where the bot runs; what follows is indented as its last line is."""
    marks = ["@pytest.mark.asyncio"]
    if scene.variables:
        values = "".join(f", {name}={literal(value)}" for name, value in scene.variables.items())
        marks.append(f"@pytest.mark.blueprint({literal(scene.blueprint)}{values})")
    blueprint = "" if scene.variables else f"blueprint={literal(scene.blueprint)}"
    lines = [*marks, "async def test_stage(fresh_homeserver, person, bot):"]
    lines.append(f"    server = await fresh_homeserver({blueprint})")
    indent = "    "
    if has_faults:
        lines.append("    async with fault_proxy(server) as faults:")
        indent *= 2
    own = f"account=server.seeded.account({literal(scene.bot)})" if scene.bot in scene.accounts else "server=server"
    arguments = [*([literal(scene.command)] if scene.command else []), own]
    arguments += ["through=faults"] if has_faults else []
    if scene.environment:
        pairs = ", ".join(f"{literal(name)}: {literal(value)}" for name, value in scene.environment.items())
        arguments.append(f"env={{{pairs}}}")
    lines.append(f"{indent}my_bot = await bot({', '.join(arguments)})")
    return "\n".join(lines)


class _Writer:
    """Writes the lines after the start of the bot, already indented."""

    def __init__(self, script: Script, scene: Scene) -> None:
        self._script, self._scene = script, scene
        self._plan = planned(script.steps)
        self._names = Names(RESERVED)
        self._events: dict[str, str] = {}  # event id -> the expression for it
        self._now = Condition()
        self._patient = False
        self._acts = {
            step.who for step in script.steps if not isinstance(step, BotStep | HomeserverStep | FaultStep | LogInStep)
        }
        self._new = [
            step.who
            for step in script.steps
            if isinstance(step, LogInStep) and (step.new or step.who not in scene.accounts)
        ]
        self._wanted = {step.about.event_id for step in script.steps if isinstance(step, PersonStep) and step.about}
        self._wanted |= {step.question for step in self._plan if isinstance(step, AnswerSeen)}

    def lines(self) -> list[str]:
        """Return all lines."""
        indent = "        " if any(isinstance(step, FaultStep) for step in self._plan) else "    "
        written: list[str] = []
        for step in self._plan:
            breaks = isinstance(step, BotStep | HomeserverStep) or (isinstance(step, FaultStep) and step.on)
            written += [""] if breaks and written else []
            written += self._written(step)
        if self._now.bot_runs and self._now.server_runs:
            written.append("must.be_running(my_bot)")
        return ["", *(f"{indent}{line}" if line else "" for line in written)]

    def _written(self, step: Any) -> Iterator[str]:
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
        before, self._now = self._now, self._now.after(step)
        self._patient = self._patient or not self._now.is_quiet or before != self._now or isinstance(step, BotStep)

    # -- what breaks

    def _bot(self, step: BotStep) -> Iterator[str]:
        self._patient = True
        if step.action in LOST:
            lost = f"lose(my_bot, {literal(LOST[step.action])})"
            yield from ("await my_bot.kill()", lost, "await my_bot.start_again()") if self._now.bot_runs else (lost,)
            return
        if step.action == "start" and self._now.bot_runs:
            yield "await must.end_by_itself(my_bot)"
        yield BOT_CALLS[step.action]

    def _server(self, step: HomeserverStep) -> Iterator[str]:
        self._patient = True
        yield f"await server.{SERVER_CALLS[step.action]}()"

    def _fault(self, step: FaultStep) -> Iterator[str]:
        name = self._names.give(f"fault {step.name}", step.name, "fault")
        if not step.on:
            if step.hits:
                yield f"await {name}.until_hit(watch=[my_bot])"
            yield f"{name}.end()"
            return
        values = [f"{key}={self._fault_value(key, value)}" for key, value in step.values.items()]
        yield f"{name} = faults.{step.kind}({', '.join(values)})"

    def _fault_value(self, key: str, value: object) -> str:
        return "my_bot" if key == "user" and value == self._user_id(self._scene.bot) else literal(value)

    # -- people

    def _log_in(self, step: LogInStep) -> Iterator[str]:
        if step.who not in self._acts or self._who(step.who) in self._names:
            return
        name = self._names.give(self._who(step.who), step.who, "somebody")
        encrypted = ["encrypted=True"] if self._script.encrypted else []
        seeded = step.who not in self._new
        who = [f"server.seeded.account({literal(step.who)})"] if seeded else [literal(step.who), "server=server"]
        yield f"{name} = await person({', '.join([*who, *encrypted])})"

    def _person(self, step: PersonStep) -> Iterator[str]:
        who = self._names[self._who(step.who)]
        if step.action in ("create direct", "create room"):
            yield from self._create(step, who)
            return
        if step.action in ("join", "leave") and step.values.get("by"):
            yield from self._invited(step, who)
            return
        yield from self._room_line(step.room)
        if step.room not in self._names:
            yield f"# left out: {step.who} did “{step.action}” in {UNKNOWN_ROOM}"
            return
        if step.about is not None:
            yield from self._event_line(step.about, who, self._names[step.room])
        yield self._assigned(step, f"await {who}.{self._call(step)}")

    def _call(self, step: PersonStep) -> str:
        room = self._names[step.room]
        about = self._events[step.about.event_id] if step.about else ""
        text = self._text(str(step.values.get("text", "")))
        user = self._user(str(step.values.get("user", "")))
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

    def _assigned(self, step: PersonStep, call: str) -> str:
        if step.action == "upgrade":
            return f"{self._names.give(step.made, f'new {self._names[step.room]}', 'room')} = {call}"
        if not step.made or step.made not in self._wanted:
            return call
        self._events[step.made] = self._names.give(step.made, "asked" if step.action == "say" else "sent", "sent")
        return f"{self._events[step.made]} = {call}"

    def _create(self, step: PersonStep, who: str) -> Iterator[str]:
        encrypted = ["encrypted=True"] if step.values.get("encrypted") else []
        if step.action == "create direct":
            arguments = [self._user(step.values["user"]), *encrypted]
            name = self._names.give(step.made, "chat", "chat")
            yield f"{name} = await {who}.create_direct({', '.join(arguments)})"
            return
        invite = [self._user(user) for user in step.values.get("invite", ())]
        arguments = [f"name={literal(step.values['name'])}"] if step.values.get("name") else []
        arguments += [f"invite=[{', '.join(invite)}]"] if invite else []
        name = self._names.give(step.made, str(step.values.get("name", "")), "room")
        yield f"{name} = await {who}.create_room({', '.join([*arguments, *encrypted])})"

    def _invited(self, step: PersonStep, who: str) -> Iterator[str]:
        """Write that a person waits for an invite, and accepts or declines it."""
        yield from self._room_line(step.room)
        watch = ", watch=[my_bot]" if step.values["by"] == self._user_id(self._scene.bot) else ""
        if step.room in self._names:
            wanted = f"room={self._names[step.room]}"
        else:
            named = str(step.values.get("name", ""))
            steady = named and stable(named, varying=self._new).whole
            wanted = self._user(step.values["by"]) + (f", name={literal(named)}" if steady else "")
            self._names.give(step.room, named, "room")
            yield f"{self._names[step.room]} = await must.see({who}, checks.invited({wanted}){watch})"
            yield f"await {who}.{step.action}({self._names[step.room]})"
            return
        yield f"await {who}.{step.action}(await must.see({who}, checks.invited({wanted}){watch}))"

    # -- what was seen

    def _answer(self, step: AnswerSeen) -> Iterator[str]:
        yield from self._room_line(step.room)
        if step.room not in self._names or self._who(step.who) not in self._names:
            yield f"# left out: an answer in {UNKNOWN_ROOM}"
            return
        who, room, says = self._names[self._who(step.who)], self._names[step.room], self._says(step)
        expected = [literal(says.whole)] if says.whole is not None else []
        expected += [f"containing={literal(says.part)}"] if says.part else []
        after = [f"after={self._events[step.question]}"] if step.question in self._events else []
        patience = [f"timeout_s={PATIENT_S}"] if self._patient else []
        if self._now.bot_runs:
            call = f"await must.say({', '.join([who, 'my_bot', room, *expected, *after, *patience])})"
        else:
            seen = ", ".join([*expected, "sender=my_bot.user_id", f"room={room}", *after])
            call = f"await must.see({', '.join([who, f'checks.answer({seen})', *patience])})"
        yield self._answer_kept(step, call)
        self._patient = not self._now.is_quiet

    def _asked(self, step: Asked) -> Iterator[str]:
        yield from self._room_line(step.question.room)
        if step.question.room not in self._names:
            yield from self._person(step.question)
            return
        who, room, says = (
            self._names[self._who(step.question.who)],
            self._names[step.question.room],
            self._says(step.answer),
        )
        expected = [literal(says.whole)] if says.whole is not None else []
        expected += [f"containing={literal(says.part)}"] if says.part else []
        patience = [f"timeout_s={PATIENT_S}"] if self._patient else []
        text = self._text(step.question.values["text"])
        call = f"await must.answer({', '.join([who, 'my_bot', room, text, *expected, *patience])})"
        yield self._answer_kept(step.answer, call)
        self._patient = False

    def _answer_kept(self, step: AnswerSeen, call: str) -> str:
        if step.event_id not in self._wanted:
            return call
        name = self._names.give(step.event_id, "answer", "answer")
        self._events[step.event_id] = f"{name}.event_id"
        return f"{name} = {call}"

    def _chat(self, step: ChatMade) -> Iterator[str]:
        who = self._names[self._who(step.made.who)]
        encrypted = ", encrypted=True" if step.made.values.get("encrypted") else ""
        patience = f", timeout_s={PATIENT_S}" if self._patient else ""
        name = self._names.give(step.made.made, "chat", "chat")
        yield f"{name} = await must.chat({who}, my_bot{encrypted}{patience})"

    def _moved(self, step: BotMoved) -> Iterator[str]:
        if step.room in self._names and self._who(step.who) in self._names:
            patience = f", timeout_s={PATIENT_S}" if self._patient else ""
            who, room = self._names[self._who(step.who)], self._names[step.room]
            yield f"await must.{step.membership}({who}, my_bot, {room}{patience})"

    def _says(self, step: AnswerSeen) -> Stable:
        return stable(step.text, asked=step.asked, varying=self._new)

    # -- what a test finds again

    def _room_line(self, room: str) -> Iterator[str]:
        """Write where a room of the blueprint is found, once."""
        if room not in self._names and room in self._script.seeded:
            key = self._script.seeded[room]
            name = self._names.give(room, key, "room")
            yield f"{name} = server.seeded.room({literal(key)})"

    def _event_line(self, quoted: Quoted, who: str, room: str) -> Iterator[str]:
        """Write how an event is found that no step has made."""
        if quoted.event_id in self._events:
            return
        says = stable(quoted.text, varying=self._new)
        expected = [literal(says.whole)] if says.whole else []
        expected += [f"containing={literal(says.part)}"] if says.part else []
        wanted = ", ".join([*expected, f"sender={self._user(quoted.sender)}", f"room={room}"])
        name = self._names.give(quoted.event_id, "message", "message")
        self._events[quoted.event_id] = f"{name}.event_id"
        yield f"{name} = await must.see({who}, checks.message({wanted}))"

    def _text(self, text: str) -> str:
        """Return a text as Python writes it; accounts made on the stage have other ids in a test."""
        for name in self._new:
            if self._user_id(name) in text and self._who(name) in self._names:
                parts = [literal(part) for part in text.split(self._user_id(name))]
                return f" + {self._names[self._who(name)]}.user_id + ".join(parts)
        return literal(text)

    def _user(self, user_id: str) -> str:
        name = user_id[1:].partition(":")[0]
        if user_id == self._user_id(self._scene.bot):
            return "my_bot.user_id"
        if user_id == self._user_id(name) and self._who(name) in self._names:
            return f"{self._names[self._who(name)]}.user_id"
        if user_id == self._user_id(name) and name in self._scene.accounts:
            return f"server.seeded.account({literal(name)}).user_id"
        return literal(user_id)

    def _user_id(self, name: str) -> str:
        return f"@{name}:{self._scene.server_name}"

    def _who(self, name: str) -> str:
        """Return the key of a person among the names."""
        return f"person {name}"
