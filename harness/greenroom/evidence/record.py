"""What one test has started and said, noted while it runs, so that its failure can be explained afterwards."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenroom.evidence.log_clock import Growth, LogClock
from greenroom.homeserver.interface import Backend, RunningHomeserver
from greenroom.homeserver.settings import HomeserverSettings
from greenroom.people.accounts import Account

if TYPE_CHECKING:
    from greenroom.faults import Transcript


@dataclass(frozen=True)
class LogSource:
    """A log file, from the byte where the test began. `utc`: its times without a zone are UTC, else local."""

    name: str
    path: Path
    start: int = 0
    utc: bool = False
    growth: Growth = field(default_factory=Growth)

    def text(self) -> str:
        """Read what was logged since; nothing if there is no file."""
        try:
            with self.path.open("rb") as log:
                log.seek(self.start)
                return log.read().decode(errors="replace")
        except OSError:
            return ""


@dataclass
class Record:
    """Of one test: where its logs are, what was configured, which requests were seen, and what must not be shown."""

    name: str
    began: float = field(default_factory=time.time)
    logs: list[LogSource] = field(default_factory=list)
    configurations: dict[str, Mapping[str, Any] | Path] = field(default_factory=dict)
    transcripts: list[Transcript] = field(default_factory=list)
    people: list[str] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set)
    clock: LogClock = field(default_factory=LogClock)

    def note_server(self, server: RunningHomeserver, settings: HomeserverSettings | None = None) -> None:
        """Note a homeserver, from now on in its log, with what was asked of it."""
        name = "homeserver" if not any(log.name.startswith("homeserver") for log in self.logs) else self._next()
        size = server.log_path.stat().st_size if server.log_path.is_file() else 0
        self.logs.append(LogSource(name, server.log_path, size, utc=server.backend is Backend.CONTAINER))
        if settings is not None:
            self.configurations[f"{name}-settings.yaml"] = {"backend": str(server.backend), **asdict(settings)}
        rendered = server.log_path.parent / "homeserver.yaml"  # Synapse's own; a container keeps it inside
        if rendered.is_file():
            self.configurations[f"{name}.yaml"] = rendered
        if server.registration:
            self.secrets.add(server.registration.secret)

    def _next(self) -> str:
        return f"homeserver-{1 + sum(log.name.startswith('homeserver') for log in self.logs)}"

    def note_failed_start(self, name: str, log_path: Path) -> None:
        """Note the log of something that did not start."""
        if log_path not in {log.path for log in self.logs}:
            self.logs.append(LogSource(name, log_path))

    def note_bot(self, account: Account, log_path: Path, env: Mapping[str, str]) -> None:
        """Note a bot, before it is started."""
        self.logs.append(LogSource(account.localpart, log_path, growth=self.clock.watch(log_path)))
        self.configurations[f"{account.localpart}.env"] = dict(env)
        self.note_account(account)

    def note_account(self, account: Account) -> None:
        """Note somebody who takes part."""
        self.people.append(account.user_id)
        self.secrets |= {account.password, account.access_token}
