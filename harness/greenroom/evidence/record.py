"""The record of one test: what it started, where the logs are. A failure bundle is made from it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from greenroom.evidence.log_clock import Growth, LogClock
from greenroom.evidence.timeline import Moment, merged, moments_of_log, moments_of_server_log, moments_of_transcript
from greenroom.faults.transcript import Transcript
from greenroom.homeserver.interface import Backend, RunningHomeserver
from greenroom.homeserver.settings import HomeserverSettings
from greenroom.people.accounts import Account
from greenroom.people.seen import Seen


@dataclass(frozen=True)
class LogSource:
    """A log file, from the byte `start` on. `utc`: its times without a zone are UTC, otherwise local."""

    name: str
    path: Path
    start: int = 0
    utc: bool = False
    growth: Growth = field(default_factory=Growth)

    def text(self) -> str:
        """Return the log from `start` on; nothing if there is no file."""
        try:
            with self.path.open("rb") as log:
                log.seek(self.start)
                return log.read().decode(errors="replace")
        except OSError:
            return ""


@dataclass
class Record:
    """One test: its logs, configurations and requests, and the secrets that no bundle may show."""

    name: str
    began: float = field(default_factory=time.time)
    logs: list[LogSource] = field(default_factory=list)
    configurations: dict[str, Mapping[str, Any] | Path | str] = field(default_factory=dict)
    transcripts: list[Transcript] = field(default_factory=list)
    people: list[str] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set)
    programs: dict[str, tuple[Sequence[str], Mapping[str, str]]] = field(default_factory=dict)  # argv and environment
    clock: LogClock = field(default_factory=LogClock)
    happenings: Mapping[Path, Sequence[tuple[float, str]]] = field(default_factory=dict)  # of the run, by log
    seen: list[Seen] = field(default_factory=list)  # by each person

    def moments(self, until: float) -> list[Moment]:
        """Return everything that the logs, the proxies and the run say, in order of time."""
        moments = [Moment(self.began, "test", f"begins: {self.name}"), Moment(until, "test", "ends")]
        for log in self.logs:
            if log.name.startswith("homeserver"):
                of_server = moments_of_server_log(log.name, log.text(), began=self.began, utc=log.utc)
                moments += [moment for moment in of_server if moment.at >= self.began]  # a poll of the test before
            else:
                moments += moments_of_log(log.name, log.text(), began=self.began, utc=log.utc, growth=log.growth)
            happened = self.happenings.get(log.path, ())
            moments += [Moment(at, log.name, what, done=True) for at, what in happened if at >= self.began]
        for transcript in self.transcripts:
            moments += moments_of_transcript(transcript)
        return merged(moments)

    def note_server(self, server: RunningHomeserver, settings: HomeserverSettings | None = None) -> None:
        """Add a homeserver: its log from now on, its settings and its secret."""
        name = "homeserver" if not any(log.name.startswith("homeserver") for log in self.logs) else self._next()
        size = server.log_path.stat().st_size if server.log_path.is_file() else 0
        self.logs.append(LogSource(name, server.log_path, size, utc=server.backend is Backend.CONTAINER))
        if settings is not None:
            self.configurations[f"{name}-settings.yaml"] = {"backend": str(server.backend), **asdict(settings)}
        rendered = server.log_path.parent / "homeserver.yaml"  # only the process backend has it here
        if rendered.is_file():
            self.configurations[f"{name}.yaml"] = rendered
        if server.registration:
            self.secrets.add(server.registration.secret)

    def _next(self) -> str:
        return f"homeserver-{1 + sum(log.name.startswith('homeserver') for log in self.logs)}"

    def note_failed_start(self, name: str, log_path: Path) -> None:
        """Add the log of something that did not start."""
        if log_path not in {log.path for log in self.logs}:
            self.logs.append(LogSource(name, log_path))

    def note_program(self, name: str, argv: Sequence[str], env: Mapping[str, str]) -> None:
        """Add a bot's command line with its whole environment, to find its libraries by."""
        self.programs[name] = (argv, env)

    def note_bot(
        self, account: Account, log_path: Path, env: Mapping[str, str], files: Mapping[str, str] | None = None
    ) -> None:
        """Add a bot that is about to start, with the texts of its configuration files."""
        self.logs.append(LogSource(account.localpart, log_path, growth=self.clock.watch(log_path)))
        self.configurations[f"{account.localpart}.env"] = dict(env)
        for path, text in (files or {}).items():
            self.configurations[f"{account.localpart}-{path}"] = text
        self.note_account(account)

    def note_account(self, account: Account) -> None:
        """Add an account and its secrets."""
        if account.user_id not in self.people:
            self.people.append(account.user_id)
        self.secrets |= {account.password, account.access_token}
