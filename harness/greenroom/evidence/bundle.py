"""The failure bundle: one folder that shows what happened, without secrets.

report.html      all of it as a picture in time, in one file, to look at in a browser
failure.txt      the test's name and error, and the command that repeats it
timeline.txt     the cause, then homeserver, bots and requests in order of time, what is dull folded
homeserver.log   the server's log of this test; one file for each server and each bot
http.txt         every request that passed a fault proxy
homeserver.yaml, bot-….env
versions.txt     the harness's libraries, and those of each bot
"""

from __future__ import annotations

import json
import platform
import re
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from greenroom.errors import Cause, Died, StartFailed, cause_lines
from greenroom.evidence.folding import fold, fold_repeats, merge_requests
from greenroom.evidence.libraries import libraries_of
from greenroom.evidence.record import Record
from greenroom.evidence.report import page
from greenroom.evidence.report.rows import picture
from greenroom.evidence.scrub import Scrubber, lines_without_secrets, without_secrets
from greenroom.evidence.timeline import Moment

OUR_ERROR = re.compile(r"^greenroom\.errors\.\w+: ")
LONGEST_VERDICT = 40  # of a verdict in a word or two
PACKAGES = ("matrix-greenroom", "matrix-nio", "matrix-synapse", "aiohttp", "pytest", "pytest-asyncio", "pytest-xdist")


def write_bundle(
    root: Path,
    record: Record,
    what_failed: str,
    error: BaseException | None = None,
    *,
    again: str = "",
    causes: Sequence[Cause] | None = None,
    files: Mapping[str, str] | None = None,
    ended: float | None = None,
    passed: bool = False,
) -> Path:
    """Write a record's bundle, with the log that `error` names, into a new folder below `root`. Return the folder.

    `what_failed` begins with the verdict in a word or two and an empty line, or is the error alone. `again` is the
    command that repeats just this. `causes` are by default those of `error`. `files` are more files, by name. `ended`
    is the moment of the verdict in seconds since the epoch (default: now). Secrets are removed from everything.
    """
    ended = time.time() if ended is None else ended
    if isinstance(error, StartFailed | Died) and error.log_path is not None:
        record.note_failed_start(error.name.split(" ")[0], error.log_path)
    record.clock.look()
    folder = _new_folder(root, record.name)
    scrubber = Scrubber(record.secrets)
    known = _causes_of(error) if causes is None else causes
    what_failed = kept_paths(what_failed, record, folder)
    moments = record.moments(ended)
    texts = {**dict(_files(record, moments, what_failed, known, again)), **(files or {})}
    verdict, _, said = what_failed.partition("\n\n")
    if len(verdict) > LONGEST_VERDICT:
        verdict, said = "passed" if passed else "failed", what_failed
    headline = known[0].headline if known else _most_telling(said)
    drawn = picture(record, moments, "" if passed else verdict, headline)
    headline = drawn.in_short(headline)
    report = page.Report(
        record.name, verdict, passed, headline, drawn, record.began, known, said.strip(), again, sorted(texts)
    )
    for name, text in {**texts, page.FILE: report.html()}.items():
        (folder / name).write_text(scrubber.text(text))
    return folder


def _most_telling(said: str) -> str:
    """Return the line of an error's text that says most: pytest's first with an E, else the first."""
    lines = [line for line in said.splitlines() if line.strip()]
    told = next((line[1:].strip() for line in lines if line.startswith("E ")), lines[0] if lines else "")
    return OUR_ERROR.sub("", told)


def kept_paths(text: str, record: Record, folder: Path) -> str:
    """Return a text that names a bundle's copies of logs instead of the logs, which are deleted after the run."""
    for log in record.logs:
        text = text.replace(str(log.path), str(folder / f"{_file_name(log.name)}.log"))
    return text


def name_kept_logs(longrepr: Any, record: Record, folder: Path) -> None:
    """Name the bundle's copies of logs in a pytest report, as `kept_paths` does in a text."""
    for traceback, crash, _ in getattr(longrepr, "chain", ()):
        if crash is not None:  # of the short summary, which is whole in CI
            crash.message = kept_paths(crash.message, record, folder)
        for entry in traceback.reprentries:
            entry.lines = [kept_paths(line, record, folder) for line in entry.lines]


def _causes_of(error: BaseException | None) -> Sequence[Cause]:
    """Return the causes that an error names, or the error that it was made from."""
    while error is not None:
        if causes := getattr(error, "causes", ()):
            return tuple(causes)
        error = error.__cause__ or error.__context__
    return ()


def _files(
    record: Record, moments: Sequence[Moment], what_failed: str, causes: Sequence[Cause], again: str
) -> Iterator[tuple[str, str]]:
    repeat = f"\nrepeat just this: {again}\n" if again else ""
    yield "failure.txt", f"{record.name}\n\n{what_failed}\n{repeat}"
    yield "timeline.txt", timeline(record, moments, causes)
    for log in record.logs:
        yield f"{_file_name(log.name)}.log", log.text()
    if any(len(transcript) for transcript in record.transcripts):
        yield "http.txt", "".join(transcript.text() for transcript in record.transcripts)
    for name, configuration in record.configurations.items():
        yield _file_name(name), _without_secrets(name, configuration)
    yield "versions.txt", versions(record)


def _without_secrets(name: str, configuration: Mapping[str, Any] | Path | str) -> str:
    if isinstance(configuration, str):
        return lines_without_secrets(configuration)
    if isinstance(configuration, Path):
        settings = yaml.safe_load(configuration.read_text()) if configuration.is_file() else None
    else:
        settings = dict(configuration)
    shown = without_secrets(settings)
    if name.endswith(".env"):
        return "".join(f"{key}={value}\n" for key, value in sorted(shown.items()))
    return yaml.safe_dump(json.loads(json.dumps(shown, default=str)), sort_keys=False)


def timeline(record: Record, moments: Sequence[Moment], causes: Sequence[Cause] = ()) -> str:
    """Return the timeline: the cause, then all moments of a record, merged for people to read."""
    folded = fold(merge_requests(moments))
    shown = fold_repeats(folded.moments)
    width = max(len(moment.source) for moment in shown)
    sources = ", ".join(sorted({moment.source for moment in moments}))
    head = [f"# {record.name}", *(f"# {line}".rstrip() for line in ["", *cause_lines(causes), ""] if causes)]
    head += [f"# {sources}", "# times are UTC; ~ marks lines without a time of their own"]
    head += [f"# left out: {folded.told()} (homeserver.log and http.txt have them)"] if folded.left_out else []
    return "\n".join(head + [line for moment in shown for line in _aligned(moment, width)]) + "\n"


def _aligned(moment: Moment, width: int) -> list[str]:
    texts = (moment.text, *moment.more)
    return [str(Moment(moment.at, moment.source.ljust(width), text, moment.guessed)) for text in texts]


def versions(record: Record) -> str:
    """Return the versions of Python and of each package in PACKAGES, then what each bot has, one per line."""
    lines = ["the harness", f"  python {platform.python_version()} on {platform.platform()}"]
    for package in PACKAGES:
        try:
            lines.append(f"  {package} {version(package)}")
        except PackageNotFoundError:
            lines.append(f"  {package} is not installed")
    for name, (argv, env) in record.programs.items():
        lines += ["", name, *(f"  {line}" for line in libraries_of(argv, env))]
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
