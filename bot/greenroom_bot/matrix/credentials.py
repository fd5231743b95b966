"""What is needed to sign in as the bot. Apart from `session`, so that settings can be read without importing nio."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from greenroom_bot.matrix.ids import UserId


@dataclass(frozen=True)
class Credentials:
    """One account on one homeserver, and where its session is kept. `repr()` shows no secret."""

    homeserver: str
    user_id: UserId
    password: str | None = field(repr=False)
    access_token: str | None = field(repr=False)
    store_path: Path
