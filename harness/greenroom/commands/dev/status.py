"""`status`: what runs, where, since when, who can log in; then how far the bot's records and the server are apart."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from greenroom.commands.dev.console import Console, duration
from greenroom.commands.dev.control import recorded_parts
from greenroom.commands.dev.folder import DevFolder
from greenroom.commands.dev.owner import read_owner, recorded_run
from greenroom.commands.dev.parts import BOT, HOMESERVER, OUR_COMMAND, PARTS, Parts
from greenroom.errors import HarnessError
from greenroom.people.matrix_api import MatrixApi, path
from greenroom.spelling import command

IN_STEP, DRIFT, CANNOT_TELL = 0, 1, 3
VERDICTS = {IN_STEP: "in step", DRIFT: "drift", CANNOT_TELL: "cannot tell"}
DEAD, NOT_COMPARED = "bot does not run", "runs; not compared"
DEVICE = "GREENROOM_STATUS"
SEEN_EVERY = timedelta(minutes=2)  # Synapse's LAST_SEEN_GRANULARITY: requests in between are not noted
NOT_OURS = "drift is known of the reference bot only: it keeps records of its rooms"


@dataclass
class Report:
    """What `status` found. `document` is what `--json` prints; `lines` say the same about the drift to a person."""

    document: dict[str, Any]
    exit_code: int
    problem: str = ""
    lines: str = ""
    verdict: str = ""  # empty: what the exit code stands for


def status(folder: DevFolder, *, as_json: bool = False, console: Console | None = None) -> int:
    """Print what runs and the drift, read-only; return 0 in step, 1 drift or a dead bot, 3 cannot tell."""
    console = console or Console()
    try:
        report = asyncio.run(survey(folder, as_json=as_json))
    except HarnessError as error:
        run = recorded_run(folder)
        report = Report({"running": bool(run and run.living())}, CANNOT_TELL, str(error))
    if as_json:
        verdict = {"verdict": drift_verdict(report), "problem": report.problem or None}
        console.say(json.dumps({**report.document, **verdict}, indent=1))
        return report.exit_code
    if HOMESERVER in report.document:
        console.overview(report.document)
        for part in PARTS:
            console.say(f"{part:<12} {report.document[part]['state']}")
        console.say(f"{'seed':<12} {report.document['seed']}")
        if address := stage_address(folder):
            console.say(f"{'stage':<12} {address}")
    if report.lines:
        console.say(report.lines)
    if report.problem:
        print(f"greenroom: {report.problem}", file=sys.stderr)
    return report.exit_code


def drift_verdict(report: Report) -> str:
    """Return the verdict in words."""
    return report.verdict or VERDICTS[report.exit_code]


def stage_address(folder: DevFolder) -> str:
    """Return the address of the page that a running `dev --stage` serves, with a key for one more browser; or ""."""
    if read_owner(folder, answering=True) is None or not folder.stage_file.exists():
        return ""
    return folder.stage_file.read_text().strip()


async def survey(folder: DevFolder, *, as_json: bool = False) -> Report:
    """Find out what runs, and let the bot's own check compare. Raises HarnessError where no dev environment is."""
    if not folder.state_file.exists() and "MATRIX_HOMESERVER" in os.environ:  # a bot elsewhere
        return _checked(folder, {"running": False}, as_json)
    document = await _document(recorded_parts(folder))
    if not document[HOMESERVER]["runs"]:
        return Report(document, CANNOT_TELL, f"the homeserver is stopped; try: {command('start')}")
    ours = document[BOT]["command"] == OUR_COMMAND
    report = (
        _checked(folder, document, as_json) if ours else Report(document, IN_STEP, lines=NOT_OURS, verdict=NOT_COMPARED)
    )
    if report.exit_code == IN_STEP and not document[BOT]["runs"]:
        agree = ", though its records and the homeserver agree" if ours else ""
        return Report(report.document, DRIFT, f"the bot does not run{agree}; try: {command('start bot')}", verdict=DEAD)
    return report


def _checked(folder: DevFolder, document: dict[str, Any], as_json: bool) -> Report:
    """Run the bot's check: its JSON becomes `drift` of the document, its text becomes the report's lines."""
    argv = [sys.executable, "-P", "-m", "greenroom_bot", "check", *(["--json"] if as_json else [])]
    env = folder.environment()
    checked = subprocess.run(argv, cwd=folder.project, env=env, capture_output=True, text=True, check=False)
    if checked.returncode not in (IN_STEP, DRIFT) or not checked.stdout.strip():  # 1 is also Python's for a traceback
        said = checked.stderr.strip().splitlines()
        return Report(document, CANNOT_TELL, said[-1] if said else f"the check ended with {checked.returncode}")
    if as_json:
        return Report({**document, "drift": json.loads(checked.stdout)}, checked.returncode)
    return Report(document, checked.returncode, lines=checked.stdout.rstrip())


async def _document(parts: Parts) -> dict[str, Any]:
    """Return what `dev.json` says with, for each part, whether it `runs` and its `state` in words."""
    state = parts.state
    document: dict[str, Any] = {"running": True, "seed": None, "drift": None, **state}
    for part in PARTS:
        handle = await asyncio.to_thread(parts.living, part)
        if handle is None:  # killed, perhaps: then dev.json still has its pid
            parts.forget(part)
        how = f"running for {_age(state[part].get('since'))}, {handle}" if handle else "not running"
        document[part] = {**state[part], "runs": handle is not None, "state": how}
    document["running"] = document[HOMESERVER]["runs"] or document[BOT]["runs"]
    if document[HOMESERVER]["runs"] and document[BOT]["runs"]:
        document[BOT]["state"] = f"{await bot_state(parts)}; {document[BOT]['state']}"
    return document


async def bot_state(parts: Parts) -> str:
    """Return `live`, or what is known of a running bot that has not shown that it is logged in.

    Ours says so itself before its start counts as one. Any other is looked for among the devices of its account.
    """
    noted = parts.state[BOT]
    if noted["command"] == OUR_COMMAND:
        return "live"
    user_id = noted["user_id"]
    name = user_id[1:].partition(":")[0]
    try:
        async with MatrixApi(parts.state[HOMESERVER]["url"]) as api:
            token = await api.log_in(name, parts.environment.get("MATRIX_PASSWORD", ""), DEVICE)
            devices = (await api.call("GET", path("devices"), token=token))["devices"]
            await api.log_out(token)
    except HarnessError as error:
        return f"whether it is logged in cannot be told ({error})"
    own = [one for one in devices if one["device_id"] != DEVICE]
    return logged_in(user_id, own, _started(noted.get("since")), datetime.now(UTC))


def logged_in(user_id: str, devices: list[dict[str, Any]], since: datetime, now: datetime) -> str:
    """Say what an account's devices tell of a bot that was started at `since`. A `last_seen_ts` is in milliseconds."""
    if not devices:
        return f"not logged in as {user_id}"
    seen = datetime.fromtimestamp(max(one.get("last_seen_ts") or 0 for one in devices) / 1000, UTC)
    if seen >= since:
        return "live"
    before = f"the homeserver last saw {user_id} at {seen:%H:%M:%S} UTC, before this start"
    again = seen + SEEN_EVERY  # a bot that kept its session may be at work all the same
    return f"{before}, and notes it again only after {again:%H:%M:%S}" if now < again else before


async def bot_line(parts: Parts) -> str:
    """Return the line about the bot that `dev` prints once everything runs."""
    return f"bot: {await bot_state(parts)}, pid {parts.state[BOT]['pid']}"


def _age(since: str | None) -> str:
    if since is None:
        return "an unknown time"
    return duration((datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds())


def _started(since: str | None) -> datetime:
    return datetime.fromisoformat(since) if since else datetime.fromtimestamp(0, UTC)
