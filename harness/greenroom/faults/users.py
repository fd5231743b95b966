"""Whose request it is. The proxy learns access tokens from logins, and asks the homeserver about unknown ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import aiohttp

WHOAMI = "/_matrix/client/v3/account/whoami"


@dataclass(frozen=True)
class Whose:
    """Whose request it is. Without a token that the homeserver knows, there is no device."""

    user: str | None = None
    device: str = ""
    token: str = field(default="", repr=False)


class Users:
    """A map from access tokens to users and devices. Belongs to the proxy's loop."""

    def __init__(self, server_name: str) -> None:
        self._server_name = server_name
        self._by_token: dict[str, Whose] = {}

    def learn(self, path: str, body: bytes) -> None:
        """Remember the token of a successful login or registration."""
        if not path.endswith(("/login", "/register")):
            return
        answer = _object(body)
        token, user = answer.get("access_token"), answer.get("user_id")
        if isinstance(token, str) and isinstance(user, str):
            self._by_token[token] = Whose(user, str(answer.get("device_id", "")), token)

    async def of(
        self, path: str, headers: Mapping[str, str], query: str, body: bytes, url: str, session: aiohttp.ClientSession
    ) -> Whose:
        """Return who is behind a request; nobody without a token, or if the homeserver does not know the token."""
        token = headers.get("Authorization", "").partition("Bearer ")[2] or parse_qs(query).get("access_token", [""])[0]
        if not token:
            return Whose(self._who_logs_in(body) if path.endswith("/login") else None)
        if token not in self._by_token:
            found = await _look_up(token, url, session)
            if found is None:
                return Whose(token=token)
            self._by_token[token] = found
        return self._by_token[token]

    def _who_logs_in(self, body: bytes) -> str | None:
        request = _object(body)
        identifier = request.get("identifier")
        user = identifier.get("user") if isinstance(identifier, dict) else request.get("user")
        if not isinstance(user, str) or not user:
            return None
        return user if user.startswith("@") else f"@{user}:{self._server_name}"


async def _look_up(token: str, url: str, session: aiohttp.ClientSession) -> Whose | None:
    """Ask the homeserver whose token it is. Return None if it did not answer."""
    try:
        async with session.get(
            url + WHOAMI, headers={"Authorization": f"Bearer {token}"}, timeout=aiohttp.ClientTimeout(total=5)
        ) as response:
            answer = _object(await response.read())
            if response.status == 200:
                return Whose(answer.get("user_id"), str(answer.get("device_id", "")), token)
            return Whose(token=token) if response.status == 401 else None
    except (aiohttp.ClientError, OSError, TimeoutError):
        return None


def _object(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
