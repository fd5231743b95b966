"""Everything that can be asked over HTTP, as a table: the server and the OpenAPI document follow from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from greenroom.bot_process import RunningBot
from greenroom.faults.rules import Rule
from greenroom.http_interface import models
from greenroom.http_interface.fault_models import FAULTS, put_in_force
from greenroom.http_interface.rehearsal import Rehearsal
from greenroom.people.accounts import Account


@dataclass(frozen=True)
class Asked:
    """One request: the variables of its path, and its body and query as models, if the operation has them."""

    path: Mapping[str, str]
    body: Any = None
    query: Any = None


Act = Callable[[Rehearsal, Asked], Awaitable[Any]]


@dataclass(frozen=True)
class Operation:
    """One method of one path. `problems` are the other answers, beside those that every operation has.

    `body` is a model, or several by the value of the body's field `kind`.
    """

    name: str
    method: str
    path: str
    summary: str
    act: Act
    answer: type[BaseModel]
    body: type[BaseModel] | Mapping[str, type[BaseModel]] | None = None
    query: type[BaseModel] | None = None
    status: HTTPStatus = HTTPStatus.OK
    problems: Mapping[HTTPStatus, str] = field(default_factory=dict)


OPERATIONS: dict[str, Operation] = {}
"""By name, in the order of the document."""

NO_BOT = {HTTPStatus.NOT_FOUND: "there is no such bot"}
NO_FAULT = {HTTPStatus.NOT_FOUND: "there is no such fault"}
NOT_READY = {
    HTTPStatus.FAILED_DEPENDENCY: "the bot did not become ready; `detail` has the cause and its last log lines"
}
NOT_NOW = {
    HTTPStatus.CONFLICT: "the homeserver is in another state",
    HTTPStatus.NOT_IMPLEMENTED: "this kind of homeserver cannot do it",
}


def operation(method: str, path: str, answer: type[BaseModel], **options: Any) -> Callable[[Act], Act]:
    """Enter a function into the table. Its docstring is the summary."""

    def enter(act: Act) -> Act:
        name = act.__name__
        OPERATIONS[name] = Operation(name, method, path, (act.__doc__ or "").splitlines()[0], act, answer, **options)
        return act

    return enter


# -- people


def _person(account: Account) -> models.Person:
    return models.Person(
        user_id=account.user_id,
        password=account.password,
        access_token=account.access_token,
        device_id=account.device_id,
    )


@operation("GET", "/people", models.People)
async def list_people(room: Rehearsal, asked: Asked) -> models.People:
    """List all people with their logins."""
    return models.People(people=[_person(account) for account in room.people.values()])


@operation(
    "POST",
    "/people",
    models.Person,
    body=models.NewPerson,
    status=HTTPStatus.CREATED,
    problems={HTTPStatus.CONFLICT: "the name is taken", HTTPStatus.NOT_IMPLEMENTED: "no such account can be made here"},
)
async def make_person(room: Rehearsal, asked: Asked) -> models.Person:
    """Make a person, logged in on one device."""
    return _person(await room.make_person(asked.body))


# -- bots


def _bot(name: str, bot: RunningBot) -> models.Bot:
    running = bot.is_running()
    return models.Bot(
        name=name,
        user_id=bot.user_id,
        running=running,
        pid=bot.pid if running else None,
        exit_code=bot.returncode,
        folder=str(bot.folder),
        log=str(bot.log_path),
    )


@operation("GET", "/bots", models.Bots)
async def list_bots(room: Rehearsal, asked: Asked) -> models.Bots:
    """List all bots."""
    return models.Bots(bots=[_bot(name, known.bot) for name, known in room.bots.items() if known.bot])


@operation(
    "POST",
    "/bots",
    models.Bot,
    body=models.NewBot,
    status=HTTPStatus.CREATED,
    problems={HTTPStatus.CONFLICT: "there is such a bot already", **NOT_READY},
)
async def start_new_bot(room: Rehearsal, asked: Asked) -> models.Bot:
    """Start a new bot. The answer comes when the bot is ready."""
    await room.start_bot(asked.body)
    return _bot(asked.body.name, room.bot(asked.body.name))


@operation("GET", "/bots/{bot}", models.Bot, problems=NO_BOT)
async def get_bot(room: Rehearsal, asked: Asked) -> models.Bot:
    """Say whether a bot runs, or how it ended."""
    return _bot(asked.path["bot"], room.bot(asked.path["bot"]))


@operation("GET", "/bots/{bot}/log", models.Log, query=models.LogQuery, problems=NO_BOT)
async def get_log(room: Rehearsal, asked: Asked) -> models.Log:
    """Return the log of a bot's latest start."""
    return models.Log(lines=room.bot(asked.path["bot"]).log_tail(asked.query.lines))


@operation("GET", "/bots/{bot}/causes", models.Reasons, query=models.WhyQuery, problems=NO_BOT)
async def get_causes(room: Rehearsal, asked: Asked) -> models.Reasons:
    """Say why a bot has not done what it was asked."""
    bot = room.bot(asked.path["bot"])
    found = bot.causes(since=bot.spawned_at_epoch_s, asked=asked.query.event_id, room=asked.query.room_id)
    causes = [models.Reason(kind=one.kind, headline=one.headline, details=list(one.details)) for one in found]
    return models.Reasons(causes=causes)


def _bot_action(action: str, summary: str, problems: Mapping[HTTPStatus, str]) -> None:
    async def act(room: Rehearsal, asked: Asked) -> models.Bot:
        await room.act_on_bot(asked.path["bot"], action)
        return _bot(asked.path["bot"], room.bot(asked.path["bot"]))

    act.__name__, act.__doc__ = f"{action}_bot", summary
    operation("POST", f"/bots/{{bot}}/{action}", models.Bot, problems={**NO_BOT, **problems})(act)


_bot_action("stop", "Stop a bot with SIGTERM, and with SIGKILL after 10 seconds.", {})
_bot_action("kill", "Kill a bot with SIGKILL, as a crash would.", {})
_bot_action(
    "start",
    "Start a bot that has ended, with the same folder. The answer comes when the bot is ready.",
    {HTTPStatus.CONFLICT: "it runs already", **NOT_READY},
)
_bot_action("restart", "Stop a bot and start it again. The answer comes when the bot is ready.", NOT_READY)


# -- faults


def _fault(number: int, kind: str, rule: Rule) -> models.Fault:
    spent = rule.times is not None and rule.hits >= rule.times
    return models.Fault(
        id=number, kind=kind, says=str(rule), hits=rule.hits, seen=rule.seen, in_force=not rule.ended and not spent
    )


def _faults(room: Rehearsal) -> models.Faults:
    return models.Faults(faults=[_fault(number, *one) for number, one in enumerate(room.rules, 1)])


@operation("GET", "/faults", models.Faults)
async def list_faults(room: Rehearsal, asked: Asked) -> models.Faults:
    """List all faults with their hits."""
    return _faults(room)


@operation("POST", "/faults", models.Fault, body=FAULTS, status=HTTPStatus.CREATED)
async def make_fault(room: Rehearsal, asked: Asked) -> models.Fault:
    """Put a fault in force, for requests to MATRIX_HOMESERVER."""
    room.rules.append((asked.body.kind, put_in_force(room.faults, asked.body)))
    return _fault(len(room.rules), *room.rules[-1])


@operation("DELETE", "/faults", models.Faults)
async def lift_faults(room: Rehearsal, asked: Asked) -> models.Faults:
    """Lift all faults."""
    room.faults.lift_all()
    return _faults(room)


def _number(asked: Asked) -> int:
    text = asked.path["fault"]
    return int(text) if text.isdecimal() else 0


@operation("GET", "/faults/{fault}", models.Fault, problems=NO_FAULT)
async def get_fault(room: Rehearsal, asked: Asked) -> models.Fault:
    """Return a fault with its hits."""
    return _fault(_number(asked), *room.fault(_number(asked)))


@operation("DELETE", "/faults/{fault}", models.Fault, problems=NO_FAULT)
async def lift_fault(room: Rehearsal, asked: Asked) -> models.Fault:
    """Lift a fault. Requests that it holds go on."""
    kind, rule = room.fault(_number(asked))
    rule.end()
    return _fault(_number(asked), kind, rule)


# -- the homeserver


def _homeserver(room: Rehearsal) -> models.Homeserver:
    return models.Homeserver(
        url=room.faults.url,
        clear_url=room.clear.url,
        server_name=room.server.server_name,
        kind=room.server.kind,
        backend=str(room.server.backend),
        state=room.homeserver_state(),
    )


@operation("GET", "/homeserver", models.Homeserver)
async def get_homeserver(room: Rehearsal, asked: Asked) -> models.Homeserver:
    """Return the homeserver's URLs, name and state."""
    return _homeserver(room)


def _homeserver_action(action: str, summary: str) -> None:
    async def act(room: Rehearsal, asked: Asked) -> models.Homeserver:
        await room.act_on_homeserver(action)
        return _homeserver(room)

    act.__name__, act.__doc__ = f"{action}_homeserver", summary
    operation("POST", f"/homeserver/{action}", models.Homeserver, problems=NOT_NOW)(act)


_homeserver_action("stop", "Stop the homeserver; its data is kept.")
_homeserver_action("kill", "Kill the homeserver, as a crash would; its data is kept.")
_homeserver_action("start", "Start the homeserver that was stopped or killed. The answer comes when it answers.")
_homeserver_action("restart", "Stop the homeserver and start it again. The answer comes when it answers.")
_homeserver_action("pause", "Freeze the homeserver: connections stay open and nothing is answered.")
_homeserver_action("resume", "Continue the paused homeserver.")


# -- evidence


@operation("GET", "/transcript", models.Transcript, query=models.TranscriptQuery)
async def get_transcript(room: Rehearsal, asked: Asked) -> models.Transcript:
    """Return the requests that were sent to MATRIX_HOMESERVER."""
    wanted, transcript = asked.query, room.faults.transcript
    following = len(transcript)
    found = transcript.entries(user=wanted.user, method=wanted.method, path=wanted.path, since=wanted.since)
    kept = [entry for entry in found if not wanted.writes or (entry.is_write and entry.reached_server)]
    return models.Transcript(entries=kept, next=following)


@operation("POST", "/bundles", models.Bundle, body=models.NewBundle, status=HTTPStatus.CREATED)
async def make_bundle(room: Rehearsal, asked: Asked) -> models.Bundle:
    """Write a bundle of everything up to now: logs, requests, timeline."""
    return models.Bundle(path=str(room.write_bundle(asked.body)))
