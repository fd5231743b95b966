"""The failure bundle: one folder that shows what happened, without secrets.

failure.txt      the test's name and error
timeline.txt     homeserver, bots and requests in order of time
homeserver.log   the server's log of this test; one file for each server and each bot
http.txt         every request that passed a fault proxy
homeserver.yaml, bot-….env, versions.txt
"""

from __future__ import annotations

import json
import platform
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from greenroom.errors import Died, StartFailed
from greenroom.evidence.record import Record
from greenroom.evidence.scrub import Scrubber, without_secrets
from greenroom.evidence.timeline import Moment, merged, moments_of_log, moments_of_server_log

PACKAGES = ("matrix-greenroom", "matrix-nio", "matrix-synapse", "aiohttp", "pytest", "pytest-asyncio", "pytest-xdist")


def write_bundle(root: Path, record: Record, what_failed: str, error: BaseException | None = None) -> Path:
    """Write a record's bundle, with the log that `error` names, into a new folder below `root`. Return the folder."""
    if isinstance(error, StartFailed | Died) and error.log_path is not None:
        record.note_failed_start(error.name.split(" ")[0], error.log_path)
    record.clock.look()
    folder = _new_folder(root, record.name)
    scrubber = Scrubber(record.secrets)
    for name, text in _files(record, what_failed):
        (folder / name).write_text(scrubber.text(text))
    return folder


def name_kept_logs(longrepr: Any, record: Record, folder: Path) -> None:
    """In a pytest report, name the bundle's copy of a log instead of the log itself, which is deleted after the run."""
    for log in record.logs:
        old, new = f"full log: {log.path}", f"full log: {folder / _file_name(log.name)}.log"
        for traceback, crash, _ in getattr(longrepr, "chain", ()):
            if crash is not None:  # of the short summary, which is whole in CI
                crash.message = crash.message.replace(old, new)
            for entry in traceback.reprentries:
                entry.lines = [line.replace(old, new) for line in entry.lines]


def _files(record: Record, what_failed: str) -> Iterator[tuple[str, str]]:
    yield "failure.txt", f"{record.name}\n\n{what_failed}\n"
    yield "timeline.txt", timeline(record)
    for log in record.logs:
        yield f"{_file_name(log.name)}.log", log.text()
    if any(len(transcript) for transcript in record.transcripts):
        yield "http.txt", "".join(transcript.text() for transcript in record.transcripts)
    for name, configuration in record.configurations.items():
        yield _file_name(name), _without_secrets(name, configuration)
    yield from record.documents.items()
    yield "versions.txt", versions()


def _without_secrets(name: str, configuration: Mapping[str, Any] | Path) -> str:
    if isinstance(configuration, Path):
        settings = yaml.safe_load(configuration.read_text()) if configuration.is_file() else None
    else:
        settings = dict(configuration)
    shown = without_secrets(settings)
    if name.endswith(".env"):
        return "".join(f"{key}={value}\n" for key, value in sorted(shown.items()))
    return yaml.safe_dump(json.loads(json.dumps(shown, default=str)), sort_keys=False)


def timeline(record: Record) -> str:
    """Return the timeline: all logs and requests of a record, merged for people to read."""
    moments = [Moment(record.began, "test", f"begins: {record.name}"), Moment(time.time(), "test", "failed")]
    for log in record.logs:
        if log.name.startswith("homeserver"):
            moments += moments_of_server_log(log.name, log.text(), began=record.began, utc=log.utc)
        else:
            moments += moments_of_log(log.name, log.text(), began=record.began, utc=log.utc, growth=log.growth)
    for transcript in record.transcripts:
        for entry in transcript:
            said = entry.line().partition(" ")[2]
            moments.append(Moment(entry.at, "proxy", said))
            moments += [Moment(entry.at, "proxy", f"  sent {entry.sent}")] if entry.sent else []
    everything = merged(moments)
    width = max(len(moment.source) for moment in everything)
    sources = ", ".join(sorted({moment.source for moment in everything}))
    head = [f"# {record.name}", f"# {sources}", "# times are UTC; ~ marks lines without a time of their own"]
    return "\n".join(head + [_aligned(moment, width) for moment in everything]) + "\n"


def _aligned(moment: Moment, width: int) -> str:
    return str(Moment(moment.at, moment.source.ljust(width), moment.text, moment.guessed))


def versions() -> str:
    """Return the versions of Python and of each package in PACKAGES, one per line."""
    lines = [f"python {platform.python_version()} on {platform.platform()}"]
    for package in PACKAGES:
        try:
            lines.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            lines.append(f"{package} is not installed")
    return "\n".join(lines) + "\n"


def _new_folder(root: Path, name: str) -> Path:
    slug = re.sub(r"[^A-Za-z0-9_.-]+", "-", name.rpartition("/")[2]).strip("-")[:80]
    root.mkdir(parents=True, exist_ok=True)
    folder = root / slug
    if folder.exists():
        folder = root / f"{slug}-{secrets.token_hex(2)}"
    folder.mkdir(mode=0o700)
    return folder


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name)
