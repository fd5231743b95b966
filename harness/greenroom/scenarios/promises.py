"""What a bot promises, in a small YAML file.

    version: 1
    name: my bot
    command: python my_bot.py
    ask: "!echo {word}"       # what a person says; each question has a new {word}
    answer: "{word}"          # what the bot's answer contains
    promises:
      message-while-down: unanswered

Only what is written under `promises` is promised. `default: yes` there promises all scenarios that are not named.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from greenroom.bot_process import split_command
from greenroom.bot_ready import Ready, http_ok, log_line, running_for
from greenroom.configuration.files import check_path
from greenroom.configuration.variables import filled, mentioned
from greenroom.faults.manners import names_of
from greenroom.homeserver.appservice import Appservice, check_regex
from greenroom.scenarios.trigger import Trigger
from greenroom.yaml_files.values import RoomVersion, Strict, passing

NOT_PROMISED = "not promised"
YES = "yes"
DEFAULT = "default"  # in `promises`: every scenario that is not named


class ReadyPromise(Strict):
    """When the bot is ready: one of these. Without any: when its requests, or the port of `trigger.http`, show that."""

    log: str | None = Field(default=None, description="when a line of its output contains this")
    http: str | None = Field(
        default=None, description="when this URL answers with a 2xx; may contain variables, such as `${PORT}`"
    )
    seconds: float | None = Field(default=None, ge=0, description="when it has run for so long")

    @model_validator(mode="after")
    def _is_one(self) -> ReadyPromise:
        if len(self.model_fields_set) > 1:
            raise ValueError(f"takes one condition, not {len(self.model_fields_set)}")
        return self

    def condition(self, listens: Ready) -> Ready:
        """Return the condition to wait for. `listens` holds if nothing is promised."""
        if self.log is not None:
            return log_line(self.log)
        if self.http is not None:
            return http_ok(self.http)
        return listens if self.seconds is None else running_for(self.seconds)


class ConfigFile(Strict):
    """A file that is written into the bot's folder before the bot starts. Its text may contain variables."""

    path: Annotated[str, passing(check_path)] = Field(description="path in the bot's folder")
    text: str | None = Field(default=None, description="the text of the file")
    source: Path | None = Field(
        default=None, alias="from", description="a file with the text, relative to this file, instead of `text`"
    )

    @model_validator(mode="after")
    def _has_one_text(self) -> ConfigFile:
        if (self.text is None) == (self.source is None):
            raise ValueError(f"{self.path} needs either `text` or `from`")
        return self


def _check_regexes(regexes: tuple[str, ...]) -> None:
    for regex in regexes:
        check_regex(regex)


Regexes = Annotated[tuple[str, ...], passing(_check_regexes)]


class AppservicePromise(Strict):
    """The registration of an application service: generated from these fields, or given as a file."""

    id: str = Field(default="bot", min_length=1, description="its id")
    sender_localpart: str = Field(default="bot", min_length=1, description="its own account, the part before the `:`")
    users: Regexes = Field(default=("@bot_.*",), description="regular expressions of its users, the ghosts")
    aliases: Regexes = Field(default=(), description="regular expressions of its room aliases")
    rooms: Regexes = Field(default=(), description="regular expressions of its room ids")
    registration: str | None = Field(
        default=None,
        description="a registration file instead, relative to this file; `${AS_TOKEN}`, `${HS_TOKEN}` and "
        "`${SERVER_NAME}` are filled in, and its `url` is replaced",
    )  # once the file is read: its text
    ghost: str | None = Field(
        default=None,
        description="the localpart of a ghost that answers as the service does, with a `{word}` in it",
    )

    @field_validator("ghost")
    @classmethod
    def _has_a_word(cls, ghost: str | None) -> str | None:
        if ghost is not None and "{word}" not in ghost:
            raise ValueError("needs a {word}: each ghost is a new one")
        return ghost

    def service(self, server_name: str) -> Appservice:
        """Return the service, with new tokens. Raises Misuse for a mistake in a given registration."""
        if self.registration is None:
            return Appservice(self.id, self.sender_localpart, users=self.users, aliases=self.aliases, rooms=self.rooms)
        tokens = {"AS_TOKEN": secrets.token_urlsafe(32), "HS_TOKEN": secrets.token_urlsafe(32)}
        return Appservice.read(filled(self.registration, {**tokens, "SERVER_NAME": server_name}))


def _as_files(config: Any) -> Any:
    """Return `{path: text}` as the list of files that it means."""
    if not isinstance(config, dict | list | tuple):
        raise ValueError("must be a mapping from paths to texts, or a list")
    if not isinstance(config, dict):
        return config
    for path, text in config.items():
        if not isinstance(text, str):
            raise ValueError(f"the text of {path} must be text; begin it with `{path}: |` and indent it")
    return [{"path": path, "text": text} for path, text in config.items()]


_FILES_SCHEMA = {
    "default": [],
    "anyOf": [
        {"type": "object", "additionalProperties": {"type": "string"}},
        {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {name: {"type": "string"} for name in ("path", "text", "from")},
                "required": ["path"],
                "additionalProperties": False,
            },
        },
    ],
}
ConfigFiles = Annotated[tuple[ConfigFile, ...], BeforeValidator(_as_files), WithJsonSchema(_FILES_SCHEMA)]


class BotPromises(Strict):
    """A bot: how to run it, how to talk to it, and what it promises."""

    version: Literal[1] = Field(default=1, description="version of this format")
    name: str = Field(default="bot", description="name of the bot, for the reader")
    command: Annotated[str | list[str], passing(split_command)] = Field(
        description="command line; variables such as `${FOLDER}` are filled in"
    )
    cwd: Path = Field(default=Path(), description="the folder it runs in, relative to this file")
    own_folder: bool = Field(
        default=False, description="run the bot of each scenario in its own new folder instead; `${HERE}` is `cwd`"
    )
    env: dict[str, str] = Field(
        default={}, description="environment variables for the bot; their values may contain variables"
    )
    config: ConfigFiles = Field(
        default=(),
        description="files for the bot's own folder, `${FOLDER}`: `path: text`, or a list; variables are filled in",
    )
    ready: ReadyPromise = Field(default=ReadyPromise(), description="when it is ready; without it when it listens")
    kind: Literal["client", "appservice"] = Field(
        default="client",
        description="a client, which syncs, or an application service, to which the homeserver sends events",
    )
    appservice: AppservicePromise = Field(
        default=AppservicePromise(), description="how its homeserver knows an application service"
    )
    ask: str = Field(
        default="{word}",
        description="what a person says. `{word}` is new each time, `{bot}` is the bot's user id, `{name}` the part "
        "before the `:` without `@`; other braces stay as they are",
    )
    answer: str = Field(
        default="{word}",
        description="what the bot's answer contains; the same words in braces. With `trigger` it may be called `says`",
    )
    trigger: Trigger | None = Field(
        default=None,
        description="what makes a bot speak that does not simply answer. Its texts may contain `{word}` and variables; "
        "`${ROOM}` is the room in which the bot must speak",
    )
    ask_as: Literal["plain", "mention", "reply", "thread"] = Field(
        default="plain",
        description="how a person asks: a plain message, one that mentions the bot, a reply to the bot, in a thread",
    )
    chat: Literal["direct", "group", "made by the bot"] = Field(
        default="direct", description="where a person asks: in a direct chat, a group, or a room that the bot makes"
    )
    answers: Literal["here", "anywhere"] = Field(
        default="here", description="where the bot answers: in the room of the question, or in any room"
    )
    invites: Literal["anyone", "owner", "nobody"] = Field(
        default="anyone",
        description="whose invites it accepts; with `nobody` Greenroom joins the bot's rooms with the bot's account",
    )
    patience_s: float = Field(default=20.0, gt=0, description="seconds that an answer may take after a disturbance")
    encrypted: bool = Field(
        default=False, description="the rooms are encrypted, and the bot never says anything there in plain text"
    )
    key_store: str = Field(
        default="${MATRIX_STORE_PATH}",
        description="the file or folder with its keys, with variables: `key-store-lost` deletes it",
    )
    several: bool = Field(
        default=False, description="several copies may run at once: it has no fixed port, lock or shared file"
    )
    room_version: RoomVersion | None = Field(
        default=None, description="version of new rooms; without it the homeserver's default"
    )
    manners: Annotated[tuple[str, ...], passing(names_of)] = Field(
        default=(),
        description="manners of another homeserver that it is rehearsed against, for instance `[conduit]` (manners.md)",
    )
    promises: dict[str, str] = Field(
        default={},
        description="scenario and way, `yes` or `no`; `default: yes` promises all scenarios that are not named",
    )

    @model_validator(mode="before")
    @classmethod
    def _says_is_answer(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "says" not in data:
            return data
        if "answer" in data:
            raise ValueError("has `says` and `answer`, which are the same; write one of them")
        if "trigger" not in data:
            raise ValueError("has `says`, which goes with `trigger`; without a trigger write `answer`")
        return {"answer" if name == "says" else name: value for name, value in data.items()}

    @field_validator("promises", mode="before")
    @classmethod
    def _yaml_booleans(cls, promises: Any) -> Any:
        words = {True: YES, False: NOT_PROMISED, "no": NOT_PROMISED, None: NOT_PROMISED}
        if not isinstance(promises, dict):
            return {} if promises is None else promises  # every line of it may be a comment
        return {k: words.get(v, v) if isinstance(v, bool | str | None) else v for k, v in promises.items()}

    @property
    def is_appservice(self) -> bool:
        """Whether it is an application service."""
        return self.kind == "appservice"

    def promised(self, scenario: str) -> str | None:
        """Return what the file says of a scenario: a way, YES or NOT_PROMISED; None if it says nothing."""
        default = YES if self.promises.get(DEFAULT) == YES else None
        return self.promises.get(scenario, default)

    @property
    def pulled(self) -> Trigger | None:
        """The trigger that is pulled instead of a question; None for a bot that is asked in the chat."""
        return None if self.trigger is None or self.trigger.seconds is not None else self.trigger

    @property
    def later_s(self) -> float:
        """The seconds between a question and its answer, for a bot that is told to speak later."""
        return (self.trigger.seconds if self.trigger else None) or 0.0

    def question(self, word: str, *, bot: str) -> str:
        """Return `ask` with its words filled in. `bot` is the bot's user id."""
        return _with_words(self.ask, word, bot)

    def expected(self, word: str, *, bot: str) -> str:
        """Return `answer` with its words filled in."""
        return _with_words(self.answer, word, bot)

    def files(self) -> dict[str, str]:
        """Return the texts of `config` by their paths, as the bot factory takes them."""
        return {file.path: file.text or "" for file in self.config}

    def mentions(self, variable: str) -> bool:
        """Return whether the file mentions `${VARIABLE}` anywhere."""
        words = [self.command] if isinstance(self.command, str) else self.command
        return variable in mentioned([*words, *self.env.values(), *self.files().values(), self.ready.http or ""])


def _with_words(text: str, word: str, bot: str) -> str:
    # Not `str.format`: a question may be JSON.
    name = bot.removeprefix("@").partition(":")[0]
    return text.replace("{word}", word).replace("{bot}", bot).replace("{name}", name)


def promises_schema() -> str:
    """Return the JSON Schema of promises files. Editors check a file against it and complete its fields."""
    schema = BotPromises.model_json_schema()
    schema["properties"]["says"] = schema["properties"]["answer"]
    ways = {"type": ["string", "boolean", "null"]}  # YAML reads `yes` and `no` as booleans
    schema["properties"]["promises"]["additionalProperties"] = ways
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=2)
