"""What a bot promises, in a small YAML file.

    version: 1
    name: my bot
    command: python my_bot.py
    ask: "!echo {word}"       # what a person says; each question has a new {word}
    answer: "{word}"          # what the bot's answer contains
    promises:
      message-while-down: unanswered

Without a line in `promises`, the bot promises a scenario's default way. `no` means that it promises nothing there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from greenroom.bot_process import Ready, first_sync, http_ok, log_line, running_for
from greenroom.faults import FaultProxy

NOT_PROMISED = "not promised"
YES = "yes"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ReadyPromise(_Strict):
    """When the bot is ready: one of these. Without any: when its requests show that it listens."""

    log: str | None = Field(default=None, description="when a line of its output contains this")
    http: str | None = Field(default=None, description="when this URL answers with a 2xx")
    seconds: float | None = Field(default=None, description="when it has run for so long")

    def condition(self, faults: FaultProxy) -> Ready:
        """Return the condition to wait for."""
        if self.log is not None:
            return log_line(self.log)
        if self.http is not None:
            return http_ok(self.http)
        return first_sync(faults) if self.seconds is None else running_for(self.seconds)


class BotPromises(_Strict):
    """A bot: how to run it, how to talk to it, and what it promises."""

    version: Literal[1] = 1
    name: str = "bot"
    command: str | list[str] = Field(description="command line; ${MATRIX_HOMESERVER} and other variables are filled in")
    cwd: Path = Field(Path(), description="the folder it runs in, relative to this file")
    own_folder: bool = Field(
        default=False, description="run each new account's bot in an empty folder instead; ${HERE} is `cwd`"
    )
    env: dict[str, str] = Field({}, description="more variables; ${OWNER} is the person who may use the bot")
    ready: ReadyPromise = ReadyPromise()
    ask: str = "{word}"
    answer: str = "{word}"
    chat: Literal["direct", "made by the bot"] = Field(
        "direct", description="where it answers: in the direct chat, or in a room that it makes after the invite"
    )
    invites: Literal["anyone", "owner"] = Field("anyone", description="whose invites it accepts")
    patience_s: float = Field(20.0, gt=0, description="how long an answer may take after a disturbance")
    promises: dict[str, str] = {}
    several: bool = False
    answers: Literal["here", "anywhere"] = "here"
    room_version: str = ""

    def promised(self, name: str) -> str | None:
        return self.promises.get(name, self.promises.get("default"))

    def question(self, word: str, bot: str) -> str:
        return self.ask.replace("{word}", word).replace("{bot}", bot)

    def expected(self, word: str, bot: str) -> str:
        return self.answer.replace("{word}", word).replace("{bot}", bot)

    @field_validator("promises", mode="before")
    @classmethod
    def _yaml_booleans(cls, promises: Any) -> Any:
        words = {True: YES, False: NOT_PROMISED, "no": NOT_PROMISED, None: NOT_PROMISED}
        return {k: words.get(v, v) for k, v in promises.items()} if isinstance(promises, dict) else promises
