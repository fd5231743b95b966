"""The variables that a bot's command, environment and configuration files may mention, in one table."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from greenroom.errors import Misuse
from greenroom.yaml_files.names import did_you_mean


@dataclass(frozen=True)
class Variable:
    """A variable. `exported`: it is also in the bot's environment. `made`: only if something mentions it.

    `of_service`: only an application service has it.
    """

    meaning: str
    exported: bool = False
    made: bool = False
    of_service: bool = False


VARIABLES: dict[str, Variable] = {
    "MATRIX_HOMESERVER": Variable("URL of the homeserver, behind the proxy that records the requests", exported=True),
    "MATRIX_USER_ID": Variable("the bot's user id", exported=True),
    "MATRIX_PASSWORD": Variable("the bot's password", exported=True),
    "MATRIX_DB_PATH": Variable("a path for a database, in the bot's folder", exported=True),
    "MATRIX_STORE_PATH": Variable("a path for a store of keys, in the bot's folder", exported=True),
    "MATRIX_ACCESS_TOKEN": Variable("an access token of the bot, for a bot that does not log in", made=True),
    "MATRIX_DEVICE_ID": Variable("the device of that access token", made=True),
    "BOT_LOCALPART": Variable("the bot's user id without `@` and server name"),
    "SERVER_NAME": Variable("the homeserver's name, the part of user ids after the `:`"),
    "FOLDER": Variable("the bot's own folder, with its files from `config`"),
    "PORT": Variable(
        "a free port on 127.0.0.1, the same after each restart; `${PORT_2}`, `${PORT_3}` and so on are others",
        made=True,
    ),
    "ADMIN_TOKEN": Variable("an access token of an administrator of the homeserver", made=True),
    "ADMIN_USER_ID": Variable("the user id of that administrator", made=True),
    "AS_TOKEN": Variable("the token with which an application service asks its homeserver", made=True, of_service=True),
    "HS_TOKEN": Variable("the token with which the homeserver asks an application service", made=True, of_service=True),
    "APPSERVICE_ID": Variable("the id in the registration of an application service", made=True, of_service=True),
    "REGISTRATION": Variable(
        "the path of that registration, a YAML file in the bot's folder", made=True, of_service=True
    ),
    "OWNER": Variable("the user id of the person who may use the bot (promises file only)", exported=True),
    "OWNER_SERVER": Variable(
        "the name of that person's homeserver, as in an allow list `@*:${OWNER_SERVER}` (promises file only)",
        exported=True,
    ),
    "HERE": Variable("the folder `cwd` of the promises file (promises file only)", exported=True),
    "ROOM": Variable(
        "a room to which the owner has invited the bot before its start (promises file only)", exported=True, made=True
    ),
}
OTHER_PORT = re.compile(r"PORT_[2-9]|PORT_[1-9][0-9]")
# `$${NAME}` is the text `${NAME}`.
MENTION = re.compile(r"\$(?:(?P<escaped>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)\})")


def mentioned(texts: Iterable[str]) -> set[str]:
    """Return the names of all `${NAME}` in some texts."""
    return {found["name"] for text in texts for found in MENTION.finditer(text) if found["name"]}


def mentions(command: str | Sequence[str], env: Mapping[str, str], files: Mapping[str, str]) -> set[str]:
    """Return the variables that a bot mentions and that `env` does not set.

    `NAME: ${NAME}` in `env` does not set a variable. It passes the variable on to the bot.
    """
    words = [command] if isinstance(command, str) else command
    own = {name for name, value in env.items() if name not in mentioned([value])}
    return mentioned([*words, *env.values(), *files.values()]) - own


def filled(text: str, values: Mapping[str, str]) -> str:
    """Return a text with each `${NAME}` replaced and `$$` as one dollar. `$NAME` stays as it is.

    Raises Misuse, with the names that exist, for a name that is not in `values`.
    """

    def value(found: re.Match[str]) -> str:
        if found["escaped"]:
            return "$"
        name = found["name"]
        if name not in values:
            check_known(name)
            raise Misuse(f"${{{name}}} has no value here: {VARIABLES[name].meaning}; pass it in the bot's `env`")
        return values[name]

    return MENTION.sub(value, text)


def check_known(name: str, own: Collection[str] = ()) -> None:
    """Raise Misuse unless a variable is in the table, is a port, or is the bot's own."""
    if not _is_known(name, own):
        every = ", ".join(VARIABLES)
        hint = did_you_mean(name, VARIABLES) or "."
        raise Misuse(f"there is no variable ${{{name}}}{hint} There are {every}. For this text write $${{{name}}}")


def check_no_slip(text: str, own: Collection[str]) -> None:
    """Raise Misuse for an unknown variable that looks like a known one, in a text where others may stand too."""
    for name in mentioned([text]):
        if did_you_mean(name, VARIABLES):
            check_known(name, own)


def _is_known(name: str, own: Collection[str]) -> bool:
    return name in VARIABLES or name in own or OTHER_PORT.fullmatch(name) is not None
