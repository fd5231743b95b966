"""Whose request it is. The proxy learns access tokens from logins, and asks the homeserver about unknown ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

import aiohttp

WHOAMI = "/_matrix/client/v3/account/whoami"


class Users:
    """A map from access tokens to user ids. Belongs to the proxy's loop."""

    def __init__(self, server_name: str) -> None:
        self._server_name = server_name
        self._by_token: dict[str, str | None] = {}

    def learn(self, path: str, body: bytes) -> None:
        """Remember the token of a successful login or registration."""
        if not path.endswith(("/login", "/register")):
            return
        answer = _object(body)
        if isinstance(answer.get("access_token"), str) and isinstance(answer.get("user_id"), str):
            self._by_token[answer["access_token"]] = answer["user_id"]

    async def of(
        self, path: str, headers: Mapping[str, str], query: str, body: bytes, url: str, session: aiohttp.ClientSession
    ) -> str | None:
        """Return the user id behind a request; None without a token, or if the homeserver does not know the token."""
        token = headers.get("Authorization", "").partition("Bearer ")[2] or parse_qs(query).get("access_token", [""])[0]
        if not token:
            return self._who_logs_in(body) if path.endswith("/login") else None
        if token not in self._by_token:
            known, user_id = await _look_up(token, url, session)
            if not known:
                return None
            self._by_token[token] = user_id
        return self._by_token[token]

    def _who_logs_in(self, body: bytes) -> str | None:
        request = _object(body)
        identifier = request.get("identifier")
        user = identifier.get("user") if isinstance(identifier, dict) else request.get("user")
        if not isinstance(user, str) or not user:
            return None
        return user if user.startswith("@") else f"@{user}:{self._server_name}"


async def _look_up(token: str, url: str, session: aiohttp.ClientSession) -> tuple[bool, str | None]:
    """Ask the homeserver whose token it is. Return (whether it answered, the user id)."""
    try:
        async with session.get(
            url + WHOAMI, headers={"Authorization": f"Bearer {token}"}, timeout=aiohttp.ClientTimeout(total=5)
        ) as response:
            answer = _object(await response.read())
            known = response.status in (200, 401)
            return known, answer.get("user_id") if response.status == 200 else None
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False, None


def _object(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
