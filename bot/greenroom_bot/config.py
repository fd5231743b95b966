"""The bot's settings: read once from ``MATRIX_*``, frozen, passed down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from greenroom_bot.matrix.credentials import Credentials
from greenroom_bot.matrix.errors import ConfigError
from greenroom_bot.matrix.ids import UserId, server_of


def _setting(env: str, help_: str, *, default: object = MISSING, absent: str = "") -> Any:
    """Declare one setting: its variable, what it means, and in words what happens when it is absent."""
    metadata = {"env": env, "help": help_, "absent": absent}
    if default is MISSING:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Config:
    """Settings of one bot process. Made by :meth:`from_environ`; the README's table is printed from these fields."""

    homeserver: str = _setting(
        "MATRIX_HOMESERVER", "base URL of the homeserver, e.g. `http://127.0.0.1:8008`", absent="required"
    )
    user_id: UserId = _setting("MATRIX_USER_ID", "the bot's account, e.g. `@bot:greenroom.test`", absent="required")
    password: str | None = _setting(
        "MATRIX_PASSWORD",
        "its password; used for the first login and when a saved session was revoked",
        default=None,
        absent="then `MATRIX_ACCESS_TOKEN` is required",
    )
    access_token: str | None = _setting(
        "MATRIX_ACCESS_TOKEN",
        "an access token to use instead of a password; its device becomes the bot's device",
        default=None,
        absent="log in with the password",
    )
    db_path: Path = _setting(
        "MATRIX_DB_PATH",
        "SQLite file with the bot's records: rooms, position, handled events",
        default=Path("lambda_matrix.db"),
        absent="`lambda_matrix.db`",
    )
    store_path: Path = _setting(
        "MATRIX_STORE_PATH",
        "directory with the device's session and encryption keys",
        default=Path("matrix_store"),
        absent="`matrix_store`",
    )
    allowed_users: tuple[str, ...] = _setting(
        "MATRIX_ALLOWED_USERS",
        "who may use the bot: user ids or `@*:server`, separated by commas, e.g. `@alice:a.org,@*:b.org`",
        default=(),
        absent="everybody on the bot's own server",
    )
    instance: str = _setting(
        "MATRIX_INSTANCE",
        "marks rooms as this deployment's own; has to survive a lost database, so set it by hand",
        default="default",
        absent="`default`",
    )
    responder: str = _setting(
        "MATRIX_RESPONDER",
        "what answers, as `package.module:factory`, e.g. `my_service.matrix:make_responder`",
        default="greenroom_bot.responder:echo",
        absent="an echo",
    )
    encrypt_rooms: bool = _setting(
        "MATRIX_ENCRYPT_ROOMS",
        "`1` makes new chats end-to-end encrypted",
        default=False,
        absent="new chats are not encrypted",
    )
    health_file: Path | None = _setting(
        "MATRIX_HEALTH_FILE",
        "file whose age tells whether the bot is live: touched at every sync, e.g. `/tmp/healthy`",
        default=None,
        absent="no such file is kept",
    )
    log_level: str = _setting(
        "MATRIX_LOG_LEVEL", "`debug`, `info`, `warning` or `error`", default="info", absent="`info`"
    )

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Config:
        """Read and check every setting.

        Raises ConfigError naming all missing or malformed variables at once. An empty variable counts as absent.
        """
        given = {f.name: environ[env] for f in fields(cls) if environ.get(env := f.metadata["env"])}
        problems = [
            f"{_env(f)} is not set ({f.metadata['help']})" for f in fields(cls) if _required(f) and f.name not in given
        ]
        values: dict[str, object] = {}
        for name, text in given.items():
            try:
                values[name] = _PARSERS.get(name, str)(text)
            except ValueError as why:
                problems.append(f"{cls.__dataclass_fields__[name].metadata['env']} {why}")
        if not given.keys() & {"password", "access_token"}:
            problems.append("neither MATRIX_PASSWORD nor MATRIX_ACCESS_TOKEN is set")
        if problems:
            raise ConfigError("; ".join(problems))
        return cls(**values)  # type: ignore[arg-type]

    @property
    def credentials(self) -> Credentials:
        return Credentials(self.homeserver, self.user_id, self.password, self.access_token, self.store_path)

    def allows(self, user_id: str) -> bool:
        """Return whether this person may use the bot. ``*`` in a pattern stands for any localpart only."""
        patterns = self.allowed_users or (f"@*:{server_of(self.user_id)}",)
        return any(
            user_id == p or (p.startswith("@*:") and server_of(user_id) == p[3:] and fnmatchcase(user_id, "@*:*"))
            for p in patterns
        )


def settings_table() -> list[tuple[str, str, str]]:
    """Return (variable, meaning, when absent) for each setting, in order; README and ``--help`` print it."""
    return [(_env(f), f.metadata["help"], f.metadata["absent"]) for f in fields(Config)]


def _env(setting: Field[Any]) -> str:
    return str(setting.metadata["env"])


def _required(setting: Field[Any]) -> bool:
    return setting.default is MISSING


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"is not an http(s) URL: {text!r}")
    return text.rstrip("/")


def _user_id(text: str) -> UserId:
    if not (text.startswith("@") and server_of(text)):
        raise ValueError(f"is not a user id like @bot:greenroom.test: {text!r}")
    return UserId(text)


def _users(text: str) -> tuple[str, ...]:
    users = tuple(_user_id(part.strip()) for part in text.split(",") if part.strip())
    if not users:
        raise ValueError(f"names nobody: {text!r}")
    return users


def _flag(text: str) -> bool:
    if text.lower() not in ("0", "1", "true", "false", "yes", "no"):
        raise ValueError(f"is neither 0 nor 1: {text!r}")
    return text.lower() in ("1", "true", "yes")


def _level(text: str) -> str:
    if text.lower() not in ("debug", "info", "warning", "error"):
        raise ValueError(f"is not debug, info, warning or error: {text!r}")
    return text.lower()


_PARSERS: dict[str, Callable[[str], object]] = {
    "homeserver": _url,
    "user_id": _user_id,
    "db_path": Path,
    "store_path": Path,
    "health_file": Path,
    "allowed_users": _users,
    "encrypt_rooms": _flag,
    "log_level": _level,
}
