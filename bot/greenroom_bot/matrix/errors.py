"""Everything the bot raises on purpose.

BotError                     exit code 1 unless a subclass says otherwise
├── ConfigError              2  a setting is missing, malformed or points at the wrong thing
├── CredentialsError         4  the homeserver refuses our password or token
│   └── SessionOver          4  the homeserver no longer knows our token; not a MatrixError, so that no handler of
│                               single requests keeps it from ending the bot
├── CannotTell               3  a question could not be answered (check only)
├── StoreError               1  the local database is damaged or unusable
└── MatrixError              1  one request to the homeserver did not succeed
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class BotError(Exception):
    """Base of the bot's own errors; `str()` is one line for a person."""

    exit_code = 1


class ConfigError(BotError):
    exit_code = 2


class CredentialsError(BotError):
    exit_code = 4


class SessionOver(CredentialsError):
    """The homeserver answered a request with `M_UNKNOWN_TOKEN` or `M_MISSING_TOKEN`: the token is good for nothing."""

    def __init__(self, errcode: str, error: str = "") -> None:
        self.errcode, self.error = errcode, error
        super().__init__(f"the homeserver says our session is over ({errcode}); the next start logs in again")


class CannotTell(BotError):
    exit_code = 3


class StoreError(BotError):
    pass


class MatrixError(BotError):
    """A request that did not succeed.

    `status` is None when no HTTP answer arrived. `definite` says that the request certainly had no effect:
    only then may a non-idempotent request be repeated blindly. `body` keeps everything the server sent.
    """

    def __init__(
        self,
        method: str,
        path: str,
        *,
        status: int | None,
        body: Mapping[str, Any] | None = None,
        cause: str = "",
        definite: bool | None = None,
    ) -> None:
        self.method, self.path, self.status = method, path, status
        self.body: Mapping[str, Any] = body or {}
        self.errcode = str(self.body.get("errcode", ""))
        self.error = str(self.body.get("error", "")) or cause
        retry_after = self.body.get("retry_after_ms")
        self.retry_after_ms: int | None = retry_after if isinstance(retry_after, int) and retry_after >= 0 else None
        self.definite = definite if definite is not None else status is not None and 400 <= status < 500
        super().__init__(str(self))

    def __str__(self) -> str:
        seen = "no answer" if self.status is None else f"HTTP {self.status}"
        return " ".join(part for part in (f"{self.method} {self.path}: {seen}", self.errcode, self.error) if part)

    @property
    def rate_limited(self) -> bool:
        return self.status == 429 or self.errcode == "M_LIMIT_EXCEEDED"

    @property
    def passing(self) -> bool:
        """Whether the same request may well succeed later: no answer, a rate limit, or a server-side failure.

        A success status whose body is no JSON is a proxy's page, not the homeserver's word: passing too.
        """
        return self.status is None or self.rate_limited or self.status >= 500 or self.status < 400


def failure(
    method: str, path: str, *, status: int | None, body: Mapping[str, Any] | None = None, cause: str = ""
) -> MatrixError | SessionOver:
    """Return the error that an answer other than a success means."""
    error = MatrixError(method, path, status=status, body=body, cause=cause)
    if status == 401 and error.errcode in ("M_UNKNOWN_TOKEN", "M_MISSING_TOKEN"):
        return SessionOver(error.errcode, error.error)
    return error
