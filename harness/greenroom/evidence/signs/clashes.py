"""What a bot's log says when something that it needs is in use: a port, a lock, a database."""

from __future__ import annotations

import re
from collections.abc import Mapping

from greenroom.errors import Cause
from greenroom.processes.ports import OF_THIS_RUN

# Python, Node.js, Go, Rust and the C library all end with the words of errno 98.
IN_USE = re.compile(r"EADDRINUSE|address already in use|only one usage of each socket address", re.IGNORECASE)
PORTS = (
    re.compile(r"\('[^']*', (\d{2,5})"),  # asyncio: error while attempting to bind on address ('0.0.0.0', 8080)
    re.compile(r"[\w\]:.*]:(\d{2,5})\b"),  # 0.0.0.0:8080, :::8080
    re.compile(r"\bport[ =:]+(\d{2,5})\b", re.IGNORECASE),
)
LOCKED = re.compile(
    r"database (?:file )?is locked|another (?:instance|process)\b.*\b(?:running|us(?:es|ing)|lock)"
    r"|(?:could not|cannot|failed to|unable to) (?:acquire|obtain|get|take)\b.*\block|already locked|lock ?file exists"
    r"|pid ?file .*exists|BlockingIOError: \[Errno 11\]|instance is already running",
    re.IGNORECASE,
)


def ports_in_use(log: str) -> list[int]:
    """Return the ports that a log says are taken, each once."""
    found = []
    for line in log.splitlines():
        if IN_USE.search(line):
            found += [int(port) for port in (_port(line),) if port]
    return list(dict.fromkeys(found))


def clashes(log: str, holders: Mapping[int, str]) -> list[Cause]:
    """Return the collisions that a log reports. `holders`: who has a port, in words."""
    causes = []
    for line in log.splitlines():
        line = line.strip()
        if IN_USE.search(line):
            causes.append(_port_taken(line, holders))
        elif LOCKED.search(line):
            causes.append(Cause("lock", f"the bot says that something it needs is locked: {_cut(line)}", (), True))
    return list(dict.fromkeys(causes))[:1]


def _port_taken(line: str, holders: Mapping[int, str]) -> Cause:
    port = _port(line)
    which = f"port {port}" if port else "a port"
    by = holders.get(int(port), "") if port else ""
    ours = OF_THIS_RUN in by
    blame = "; that is Greenroom's doing, not the bot's" if ours else ""
    holder = f"{by or 'another program'} listens on it{blame}"
    advice = "run one copy of the bot at a time, or give each a port of its own" if ours else "end that program"
    return Cause("port", f"the bot could not open {which}: {holder}", (_cut(line), f"try: {advice}"), True)


def _port(line: str) -> str | None:
    matches = (pattern.search(line) for pattern in PORTS)
    return next((match[1] for match in matches if match), None)


def _cut(line: str) -> str:
    return line if len(line) <= 200 else f"{line[:200]}…"
