"""What a bot promises, in a small YAML file.

    version: 1
    name: my bot
    command: python my_bot.py
    ask: "!echo {word}"       # what a person says; {word} is another word each time
    answer: "{word}"          # what the bot's answer contains
    promises:
      message-while-down: unanswered

A scenario that is not named is promised in its default way; `no` means that nothing is promised.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from greenroom.bot_process import Ready, first_sync, http_ok, log_line, running_for, split_command
from greenroom.errors import Misuse
from greenroom.faults import FaultProxy

NOT_PROMISED = "not promised"
YES = "yes"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ReadyPromise(_Strict):
    """When the bot is ready: one of these. None of them: when it listens, seen from its requests."""

    log: str | None = Field(default=None, description="a line of its output contains this")
    http: str | None = Field(default=None, description="this URL answers with a 2xx")
    seconds: float | None = Field(default=None, description="it has run for so long")

    def condition(self, faults: FaultProxy) -> Ready:
        """Make the condition."""
        if self.log is not None:
            return log_line(self.log)
        if self.http is not None:
            return http_ok(self.http)
        return first_sync(faults) if self.seconds is None else running_for(self.seconds)


class BotPromises(_Strict):
    """A bot: how it is run, how it is spoken to, and what it promises."""

    version: Literal[1] = 1
    name: str = "bot"
    command: str | list[str] = Field(description="command line; ${MATRIX_HOMESERVER} and the like are filled in")
    cwd: Path = Field(Path(), description="where it runs, relative to this file")
    own_folder: bool = Field(
        default=False, description="run each start of a new account in an empty folder instead; ${HERE} is `cwd`"
    )
    env: dict[str, str] = Field({}, description="more variables; ${OWNER} is the person that may use the bot")
    ready: ReadyPromise = ReadyPromise()
    ask: str = "{word}"
    answer: str = "{word}"
    chat: Literal["direct", "made by the bot"] = Field(
        "direct", description="where it answers: in the direct chat it is invited to, or in a room it then makes"
    )
    invites: Literal["anyone", "owner"] = Field("anyone", description="whose invites it accepts")
    patience_s: float = Field(20.0, gt=0, description="the longest that an answer may take after a disturbance")
    promises: dict[str, str] = {}

    @field_validator("promises", mode="before")
    @classmethod
    def _yaml_booleans(cls, promises: Any) -> Any:
        words = {True: YES, False: NOT_PROMISED, "no": NOT_PROMISED, None: NOT_PROMISED}
        return {k: words.get(v, v) for k, v in promises.items()} if isinstance(promises, dict) else promises

    @field_validator("promises")
    @classmethod
    def _known(cls, promises: dict[str, str]) -> dict[str, str]:
        from greenroom.scenarios.catalogue import CATALOGUE  # it needs this module

        for name, value in promises.items():
            if name not in CATALOGUE:
                raise ValueError(f"there is no scenario {name!r}; there are {', '.join(CATALOGUE)}")
            allowed = list(dict.fromkeys((YES, *CATALOGUE[name].ways, NOT_PROMISED)))
            if value not in allowed:
                raise ValueError(f"{name} cannot be {value!r}; it can be {', '.join(allowed)}")
        return promises

    def promised(self, scenario: str) -> str:
        """Say in which way a scenario is promised, or NOT_PROMISED."""
        from greenroom.scenarios.catalogue import CATALOGUE

        value = self.promises.get(scenario, CATALOGUE[scenario].default)
        return CATALOGUE[scenario].ways[0] if value == YES else value


def load_promises(path: Path) -> BotPromises:
    """Read a promises file. Raises Misuse with the place of the first mistake."""
    try:
        data = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise Misuse(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}") from None
    except yaml.YAMLError as error:
        raise Misuse(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    return parse_promises(data, str(path), path.parent)


def parse_promises(data: Any, source: str, folder: Path) -> BotPromises:
    """Check promises; `cwd` becomes absolute, from `folder`."""
    if not isinstance(data, dict):
        raise Misuse(f"{source}: must be a mapping with at least `command`")
    try:
        promises = BotPromises.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Misuse(f"{source}: {where}: {first['msg'].removeprefix('Value error, ')}") from None
    split_command(promises.command)
    return promises.model_copy(update={"cwd": (folder / promises.cwd).resolve()})
