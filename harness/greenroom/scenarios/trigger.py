"""Triggers: what makes a bot speak that nobody asks in a chat. A trigger is a question asked by other means."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import aiohttp
from pydantic import Field, field_validator, model_validator

from greenroom.bot_process import RunningBot, split_command
from greenroom.bot_ready import Ready
from greenroom.configuration.files import check_path
from greenroom.configuration.variables import filled, mentioned
from greenroom.errors import HarnessError, Misuse
from greenroom.homeserver.settings import replace_text
from greenroom.processes.ports import refusal
from greenroom.processes.process import Command, ManagedProcess
from greenroom.processes.runs import Run
from greenroom.yaml_files.values import Strict, passing

SETTLE_S = 2.0  # for triggers without an outcome, when everything else is over
WORD = "{word}"


class HttpTrigger(Strict):
    """An HTTP request. Its texts may contain variables and `{word}`."""

    url: str = Field(description="the URL, such as `http://127.0.0.1:${PORT}/hook`")
    method: str = Field(default="POST", pattern=r"^[A-Z]+$", description="the method")
    headers: dict[str, str] = Field(default={}, description="more headers")
    data: Any = Field(default=None, alias="json", description="the body, sent as JSON")
    body: str | None = Field(default=None, description="the body as text, instead of `json`")

    @model_validator(mode="after")
    def _has_one_body(self) -> HttpTrigger:
        if self.data is not None and self.body is not None:
            raise ValueError("takes `json` or `body`, not both")
        return self


class FileTrigger(Strict):
    """A file that is written into the bot's folder. Path and text may contain variables and `{word}`."""

    path: Annotated[str, passing(check_path)] = Field(description="path in the bot's folder")
    text: str = Field(description="the text of the file")
    append: bool = Field(default=False, description="append to the file; without it the file is replaced at once")


class Trigger(Strict):
    """What makes the bot speak: one of these. All but `seconds` stand for a question in the chat."""

    http: HttpTrigger | None = Field(default=None, description="an HTTP request")
    signal: str | None = Field(default=None, description="a signal, such as `SIGUSR1`")
    file: FileTrigger | None = Field(default=None, description="a file in the bot's folder")
    command: str | None = Field(
        default=None, description="a command line, run in the bot's working directory with the bot's environment"
    )
    seconds: float | None = Field(
        default=None, gt=0, description="nothing but time: it speaks so many seconds after a person has said `ask`"
    )

    @model_validator(mode="after")
    def _is_one(self) -> Trigger:
        if len(self.model_fields_set) != 1:
            raise ValueError(f"takes one of {', '.join(type(self).model_fields)}, not {len(self.model_fields_set)}")
        return self

    @field_validator("signal")
    @classmethod
    def _is_a_signal(cls, name: str | None) -> str | None:
        if name is not None and name not in {one.name for one in signal.Signals} - {"SIGKILL", "SIGSTOP"}:
            raise ValueError(f"there is no signal {name!r} that a bot can handle; write it as in `SIGUSR1`")
        return name

    @field_validator("command")
    @classmethod
    def _can_be_read(cls, command: str | None) -> str | None:
        try:
            split_command(command or "-")
        except Misuse as error:
            raise ValueError(str(error).replace("the bot's command", "the command")) from None
        return command

    @property
    def texts(self) -> list[str]:
        """Every text in which variables and words are filled in."""
        texts = [self.command or ""]
        if self.http:
            texts += [self.http.url, self.http.body or "", *self.http.headers.values(), *_texts_in(self.http.data)]
        if self.file:
            texts += [self.file.path, self.file.text]
        return texts

    @property
    def variables(self) -> set[str]:
        """The variables that the trigger mentions."""
        return mentioned(self.texts)

    @property
    def has_word(self) -> bool:
        """Whether each trigger has a word of its own."""
        return any(WORD in text for text in self.texts)

    @property
    def waits(self) -> bool:
        """Whether a trigger can stay where a bot that is down finds it later."""
        return self.file is not None or self.command is not None

    def bare(self) -> Trigger:
        """Return the same kind of trigger without its texts, which may hold secrets."""
        kept: dict[str, Any] = {"signal": self.signal} if self.signal else {"command": "-"}
        if self.http:
            kept = {"http": {"url": "-"}}
        if self.file:
            kept = {"file": {"path": "-", "text": "-"}}
        if self.seconds:
            kept = {"seconds": self.seconds}
        return Trigger.model_validate(kept)

    def listens(self) -> Ready | None:
        """Return the condition that the bot accepts connections for its HTTP trigger; None for other triggers."""
        return None if self.http is None else partial(_accepts_connections, self.http.url)


def _texts_in(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, Mapping | list):
        for part in data.values() if isinstance(data, Mapping) else data:
            yield from _texts_in(part)


def _fill(data: Any, fill: Callable[[str], str]) -> Any:
    """Return JSON data with every text in it filled in."""
    if isinstance(data, str):
        return fill(data)
    if isinstance(data, Mapping):
        return {name: _fill(part, fill) for name, part in data.items()}
    return [_fill(part, fill) for part in data] if isinstance(data, list) else data


async def _accepts_connections(url: str, bot: RunningBot) -> str | None:
    where = urlsplit(filled(url.replace(WORD, ""), _values(bot, room="")))
    port = where.port or (443 if where.scheme == "https" else 80)
    refused = await refusal(where.hostname or "", port)
    return f"{where.hostname}:{port}, which its trigger calls: {type(refused).__name__}" if refused else None


def _values(bot: RunningBot, room: str) -> dict[str, str]:
    return {**bot.known, "ROOM": room}


# -- pulling


@dataclass
class Pulled:
    """A trigger that was pulled.

    `accepted`: the bot has taken it (True), or refused it (False); None if nobody can say. `at`: when it was known, in
    seconds since the epoch.
    """

    outcome: str = "no outcome yet"
    accepted: bool | None = None
    at: float | None = None

    def ends(self, outcome: str, accepted: bool | None) -> None:
        """Note what became of the trigger."""
        self.outcome, self.accepted, self.at = outcome, accepted, time.time()


class Triggers:
    """Pulls the triggers of one bot. None is waited for: a webhook may answer only after the bot has spoken."""

    def __init__(self, trigger: Trigger, run: Run, *, timeout_s: float) -> None:
        self.trigger = trigger
        self._run = run
        self._timeout_s = timeout_s
        self._open: dict[asyncio.Task[None], Pulled] = {}

    def pull(self, bot: RunningBot, word: str, room: str) -> tuple[str, Pulled]:
        """Pull the trigger. Return its text for a person, without secrets, and what becomes of it."""
        values = _values(bot, room)

        def fill(text: str) -> str:
            return filled(text, values).replace(WORD, word)

        shown, act = self._prepared(bot, fill)
        pulled = Pulled()
        task = asyncio.create_task(self._pull(act, pulled))
        self._open[task] = pulled
        task.add_done_callback(lambda done: self._open.pop(done, None))
        return (f"{shown} with {word}" if self.trigger.has_word else shown), pulled

    async def close(self) -> None:
        """Wait for a moment for outcomes that are still open, then give up on them."""
        if self._open:
            await asyncio.wait(self._open, timeout=SETTLE_S)
        for task, pulled in list(self._open.items()):
            task.cancel()
            pulled.outcome = "no outcome until the end of the scenario"
        if self._open:
            await asyncio.wait(self._open)

    def _prepared(self, bot: RunningBot, fill: Callable[[str], str]) -> tuple[str, Callable[[Pulled], Any]]:
        trigger = self.trigger
        if trigger.http:
            request = _fill(trigger.http.model_dump(), fill)
            address = request["url"].partition("?")[0]
            return f"{request['method']} {address}", partial(_call, request, self._timeout_s)
        if trigger.file:
            path = fill(trigger.file.path)
            check_path(path)
            where, text = bot.folder / path, fill(trigger.file.text)
            return f"the file {path}", partial(_write, where, text, trigger.file.append)
        if trigger.signal:
            return trigger.signal, partial(_signal, bot, signal.Signals[trigger.signal])
        argv = [fill(word) for word in split_command(trigger.command or "")]
        return f"the command {Path(argv[0]).name}", partial(_run, argv, bot, self._run, self._timeout_s)

    async def _pull(self, act: Callable[[Pulled], Any], pulled: Pulled) -> None:
        try:
            await act(pulled)
        except TimeoutError:
            pulled.ends(f"no outcome within {self._timeout_s:g} s", None)
        except (aiohttp.ClientError, OSError, HarnessError) as error:
            pulled.ends(f"{type(error).__name__}: {error}", False)


async def _call(request: Mapping[str, Any], timeout_s: float, pulled: Pulled) -> None:
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    body = {"json": request["data"]} if request["data"] is not None else {"data": request["body"]}
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.request(request["method"], request["url"], headers=request["headers"], **body) as response,
    ):
        pulled.ends(f"HTTP {response.status}", response.status < 400)


async def _write(where: Path, text: str, append: bool, pulled: Pulled) -> None:
    where.parent.mkdir(parents=True, exist_ok=True)
    if append:
        with where.open("a") as file:
            file.write(text)
    else:
        replace_text(where, text)
    pulled.ends("written", None)


async def _signal(bot: RunningBot, number: signal.Signals, pulled: Pulled) -> None:
    bot.check_alive()
    os.kill(bot.pid, number)
    pulled.ends("sent", None)


async def _run(argv: list[str], bot: RunningBot, run: Run, timeout_s: float, pulled: Pulled) -> None:
    log = bot.folder / "trigger.log"
    process = ManagedProcess(Command("the trigger", argv, bot.settings.cwd, bot.known, log), run=run)
    process.spawn()
    try:
        code = await process.wait(timeout_s)
    finally:
        process.kill_now()
    if code is None:
        raise TimeoutError
    last = process.log_text().strip().rpartition("\n")[2]
    pulled.ends(f"exit code {code}{f': {last}' if code and last else ''}", code == 0)
