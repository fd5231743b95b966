"""The bot's settings: read once from `MATRIX_*`, frozen, passed down."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from greenroom_bot.matrix.credentials import Credentials
from greenroom_bot.matrix.errors import ConfigError
from greenroom_bot.matrix.ids import UserId, server_of


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"is not an http(s) URL: {text!r}")
    return text.rstrip("/")


def _user_id(text: str) -> UserId:
    if not (text.startswith("@") and server_of(text)):
        raise ValueError(f"is not a user id like @bot:greenroom.test: {text!r}")
    return UserId(text)


def _users(value: object) -> object:
    if not isinstance(value, str):
        return value
    users = tuple(_user_id(part.strip()) for part in value.split(",") if part.strip())
    if not users:
        raise ValueError(f"names nobody: {value!r}")
    return users


def _flag(value: object) -> object:
    if str(value).lower() not in ("0", "1", "true", "false", "yes", "no"):
        raise ValueError(f"is neither 0 nor 1: {value!r}")
    return value


def _level(text: str) -> str:
    if text.lower() not in ("debug", "info", "warning", "error"):
        raise ValueError(f"is not debug, info, warning or error: {text!r}")
    return text.lower()


def _setting(meaning: str, *, absent: str, default: object = ..., secret: bool = False) -> Any:
    """Declare one setting: what it means, and in words what happens when it is absent."""
    return Field(default, description=meaning, json_schema_extra={"absent": absent}, repr=not secret)


def _variable(name: str) -> str:
    return f"MATRIX_{name.upper()}"


class Config(BaseModel):
    """Settings of one bot process. The variable of each is its name in capitals after `MATRIX_`; README prints them."""

    model_config = ConfigDict(frozen=True, alias_generator=_variable, populate_by_name=True)

    homeserver: Annotated[str, AfterValidator(_url)] = _setting(
        "base URL of the homeserver, e.g. `http://127.0.0.1:8008`", absent="required"
    )
    user_id: Annotated[UserId, AfterValidator(_user_id)] = _setting(
        "the bot's account, e.g. `@bot:greenroom.test`", absent="required"
    )
    password: str | None = _setting(
        "its password; used for the first login and when a saved session was revoked",
        absent="then `MATRIX_ACCESS_TOKEN` is required",
        default=None,
        secret=True,
    )
    access_token: str | None = _setting(
        "an access token to use instead of a password; its device becomes the bot's device",
        absent="log in with the password",
        default=None,
        secret=True,
    )
    db_path: Path = _setting(
        "SQLite file with the bot's records: rooms, position, handled events",
        absent="`lambda_matrix.db`",
        default=Path("lambda_matrix.db"),
    )
    store_path: Path = _setting(
        "directory with the device's session and encryption keys", absent="`matrix_store`", default=Path("matrix_store")
    )
    allowed_users: Annotated[tuple[str, ...], BeforeValidator(_users)] = _setting(
        "who may use the bot: user ids or `@*:server`, separated by commas, e.g. `@alice:a.org,@*:b.org`",
        absent="everybody on the bot's own server",
        default=(),
    )
    instance: str = _setting(
        "marks rooms as this deployment's own; has to survive a lost database, so set it by hand",
        absent="`default`",
        default="default",
    )
    responder: str = _setting(
        "what answers, as `package.module:factory`, e.g. `my_service.matrix:make_responder`",
        absent="an echo",
        default="greenroom_bot.responder:echo",
    )
    encrypt_rooms: Annotated[bool, BeforeValidator(_flag)] = _setting(
        "`1` makes new chats end-to-end encrypted",
        absent="only chats asked for in an encrypted room are encrypted",
        default=False,
    )
    health_file: Path | None = _setting(
        "file whose age tells whether the bot is live: touched at every sync, e.g. `/tmp/healthy`",
        absent="no such file is kept",
        default=None,
    )
    log_level: Annotated[str, AfterValidator(_level)] = _setting(
        "`debug`, `info`, `warning` or `error`", absent="`info`", default="info"
    )
    log_messages: Annotated[bool, BeforeValidator(_flag)] = _setting(
        "for development only: `1` adds room names, messages and answers, each cut short, to the log",
        absent="no log line holds what people write; `dev` sets it to `1`",
        default=False,
    )

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Config:
        """Read and check every setting. An empty variable counts as absent.

        Raises ConfigError naming all missing or malformed variables at once.
        """
        given = {variable: environ[variable] for variable in map(_variable, cls.model_fields) if environ.get(variable)}
        problems = []
        try:
            config = cls.model_validate(given)
        except ValidationError as error:
            problems = [_problem(str(found["loc"][0]), found) for found in error.errors()]
        if not given.keys() & {"MATRIX_PASSWORD", "MATRIX_ACCESS_TOKEN"}:
            problems.append("neither MATRIX_PASSWORD nor MATRIX_ACCESS_TOKEN is set")
        if problems:
            raise ConfigError("; ".join(problems))
        return config

    @property
    def credentials(self) -> Credentials:
        """What signing in needs of the settings."""
        return Credentials(self.homeserver, self.user_id, self.password, self.access_token, self.store_path)

    def allows(self, user_id: str) -> bool:
        """Return whether this person may use the bot. `*` in a pattern stands for any localpart only."""
        patterns = self.allowed_users or (f"@*:{server_of(self.user_id)}",)
        return any(
            user_id == p or (p.startswith("@*:") and server_of(user_id) == p[3:] and fnmatchcase(user_id, "@*:*"))
            for p in patterns
        )


def settings_table() -> list[tuple[str, str, str]]:
    """Return (variable, meaning, when absent) for each setting, in order; README and `--help` print it."""
    return [(_variable(name), field.description or "", _absent(field)) for name, field in Config.model_fields.items()]


def local_paths(environ: Mapping[str, str]) -> tuple[Path, Path]:
    """Return the database's and the store's path, without asking for any other setting."""
    db, store = (
        environ.get(_variable(name)) or Config.model_fields[name].default for name in ("db_path", "store_path")
    )
    return Path(db), Path(store)


def _absent(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    return str(extra["absent"]) if isinstance(extra, dict) else ""


def _problem(variable: str, found: Mapping[str, Any]) -> str:
    """Return a validation error as a sentence that begins with the variable. Secrets are never shown."""
    if found["type"] == "missing":
        return f"{variable} is not set ({Config.model_fields[variable.removeprefix('MATRIX_').lower()].description})"
    return f"{variable} {found.get('ctx', {}).get('error', found['msg'])}"
