"""A bot in plain Python that answers `!ping` with `pong`, and can be broken: the variable BROKEN says how."""

from __future__ import annotations

import itertools
import json
import os
import time
import urllib.request

BROKEN = os.environ.get("BROKEN", "")
if BROKEN == "unset variable":
    SERVER = os.environ["HOMESERVER_URL"]
elif BROKEN == "wrong variable":
    SERVER = os.environ.get("HOMESERVER_URL", "http://127.0.0.1:9")
else:
    SERVER = os.environ["MATRIX_HOMESERVER"]
ME = os.environ["MATRIX_USER_ID"]
NUMBERS = itertools.count()


def call(method: str, path: str, body: dict | None = None, token: str = "") -> dict:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{SERVER}/_matrix/client/v3{path}", data, method=method)
    request.add_header("Content-Type", "application/json")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def tried(method: str, path: str, body: dict | None = None, token: str = "") -> dict:
    """Call, and swallow every error, as careless bots do."""
    try:
        return call(method, path, body, token)
    except OSError:
        return {}


def log_in() -> str:
    password = "wrong" if BROKEN == "wrong password" else os.environ["MATRIX_PASSWORD"]
    identifier = {"type": "m.id.user", "user": ME}
    while True:
        body = {"type": "m.login.password", "identifier": identifier, "password": password}
        if token := tried("POST", "/login", body).get("access_token"):
            return token
        time.sleep(0.2)


def answer(room: str, token: str) -> None:
    if BROKEN == "blocking call":
        time.sleep(3600)
    if BROKEN == "silent":
        return
    where = "!nowhere:elsewhere.test" if BROKEN == "wrong room" else room
    content = {"msgtype": "m.text"} if BROKEN == "missing body" else {"msgtype": "m.text", "body": "pong"}
    if BROKEN == "exception":
        content["body"] = content["text"]
    tried("PUT", f"/rooms/{where}/send/m.room.message/{next(NUMBERS)}", content, token)


def main() -> None:
    token, since, handled = log_in(), "", set()
    while True:
        news = tried("GET", f"/sync?timeout=1000{since and f'&since={since}'}", token=token)
        rooms, since = news.get("rooms", {}), news.get("next_batch", since)
        for room in rooms.get("invite", {}) if BROKEN != "no join" else ():
            tried("POST", f"/join/{room}", {}, token)
        for room, info in rooms.get("join", {}).items():
            for event in info.get("timeline", {}).get("events", ()):
                if event["event_id"] in handled:  # a homeserver may tell an event twice
                    continue
                handled.add(event["event_id"])
                if event["sender"] != ME and event.get("content", {}).get("body") == "!ping":
                    answer(room, token)


main()
