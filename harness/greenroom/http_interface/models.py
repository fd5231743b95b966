"""The bodies and answers of the HTTP interface."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from greenroom.faults.transcript import Entry
from greenroom.http_interface.fault_models import Strict
from greenroom.scenarios.promises import ReadyPromise

NAME = r"^[a-z0-9._=-]+$"


class NewPerson(Strict):
    """A person to make."""

    name: str = Field(pattern=NAME, description="the localpart of the account")
    password: str | None = Field(default=None, min_length=1, description="without it a random one")
    admin: bool = Field(default=False, description="an administrator of the homeserver")


class Person(BaseModel):
    """An account, logged in on one device."""

    user_id: str
    password: str
    access_token: str
    device_id: str


class People(BaseModel):
    """All people, in the order in which they were made."""

    people: list[Person]


class NewBot(Strict):
    """A bot to start. The fields are those of a promises file. Its requests pass the faults."""

    name: str = Field(
        default="bot", pattern=NAME, description="name of the bot, and localpart of its account, made if it is new"
    )
    command: str | list[str] = Field(description="command line; variables such as `${FOLDER}` are filled in")
    cwd: Path = Field(default=Path(), description="the folder it runs in, relative to that of `greenroom run`")
    own_folder: bool = Field(default=False, description="run it in its own new folder, `${FOLDER}`, instead")
    env: dict[str, str] = Field(default={}, description="environment variables; their values may contain variables")
    config: dict[str, str] = Field(
        default={}, description="files for its own folder, as path and text; variables are filled in"
    )
    ready: ReadyPromise = Field(default=ReadyPromise(), description="when it is ready; without it when it listens")
    ready_timeout_s: float = Field(default=30.0, gt=0, description="seconds within which it must be ready")


class Bot(BaseModel):
    """A bot. After `stop` or `kill` it keeps its folder, and `start` starts it again."""

    name: str
    user_id: str
    running: bool
    pid: int | None = Field(description="of the latest start; null while it does not run")
    exit_code: int | None = Field(description="of the latest start, negative for a signal; null while it runs")
    folder: str
    log: str = Field(description="path of its log")


class Bots(BaseModel):
    """All bots, in the order in which they were started."""

    bots: list[Bot]


class LogQuery(Strict):
    """Which part of a log."""

    lines: int = Field(default=1000, ge=1, description="at most so many of the last lines")


class Log(BaseModel):
    """The log of a bot's latest start."""

    lines: list[str]


class WhyQuery(Strict):
    """What the bot was asked."""

    event_id: str | None = Field(default=None, description="event id of the question")
    room_id: str | None = Field(default=None, description="room of the question")


class Reason(BaseModel):
    """Why something did not happen. `kind` is a short name to branch on."""

    kind: str
    headline: str
    details: list[str]


class Reasons(BaseModel):
    """Why a bot has not done what it was asked, as its requests and its log tell, the best reason first."""

    causes: list[Reason]


class Fault(BaseModel):
    """A fault, in force or not any more."""

    id: int
    kind: str
    says: str = Field(description="the fault in words, as the transcript names it")
    hits: int = Field(description="requests that it has hit")
    seen: int = Field(description="requests that matched, hit or not")
    in_force: bool


class Faults(BaseModel):
    """All faults, the oldest first."""

    faults: list[Fault]


State = Literal["running", "stopped", "paused", "died"]


class Homeserver(BaseModel):
    """The homeserver. Its URL, accounts and rooms stay the same when it is stopped and started."""

    url: str = Field(description="MATRIX_HOMESERVER, where faults hit")
    clear_url: str = Field(description="GREENROOM_HOMESERVER, where no fault hits")
    server_name: str
    kind: str
    backend: str
    state: State


class TranscriptQuery(Strict):
    """Which requests."""

    user: str | None = Field(default=None, description="the user id of who sent them")
    method: str | None = Field(default=None, description="the HTTP method")
    path: str | None = Field(default=None, description="a part of the path")
    writes: bool = Field(default=False, description="only those that reached the homeserver and change something")
    since: int = Field(default=0, ge=0, description="`next` of an earlier answer: leave out what came before")


class Transcript(BaseModel):
    """Requests that were sent to MATRIX_HOMESERVER, in order of arrival. Secrets are removed."""

    entries: list[Entry]
    next: int = Field(description="for `since`")


class NewBundle(Strict):
    """A bundle to write."""

    name: str = Field(default="bundle", min_length=1, description="for instance the name of the test")
    reason: str = Field(default="asked for", description="what failed; the first lines of the bundle")


class Bundle(BaseModel):
    """A folder with logs, requests and timeline, without secrets."""

    path: str


class Problem(BaseModel):
    """What is wrong with a request, as RFC 9457 has it."""

    type: Literal["about:blank"] = "about:blank"
    title: str = Field(description="the meaning of the status")
    status: int
    detail: str = Field(description="what is wrong, in a sentence")
    where: str | None = Field(default=None, description="of a wrong body or query: the place")
