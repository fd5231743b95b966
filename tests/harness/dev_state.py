"""The least that a whole `dev.json` holds."""

from __future__ import annotations

STATE = {
    "version": 1,
    "homeserver": dict.fromkeys(("url", "server_name", "kind", "backend", "log"), "x"),
    "bot": dict.fromkeys(("user_id", "log", "command"), "x"),
    "people": [],
    "env_file": "x",
}
