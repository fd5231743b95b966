"""What is left and said after a command has failed: its bundle, and the first causes."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from greenroom.errors import Cause, cause_lines
from greenroom.evidence.signs.refusals import refused
from greenroom.faults.transcript import Entry
from greenroom.http_interface import Rehearsal


def causes_of(rehearsal: Rehearsal) -> list[Cause]:
    """Return what went wrong between a command, its bots and its homeserver, as far as it was seen, the worst first."""
    causes = []
    if rehearsal.homeserver_state() == "died":
        tail = tuple(rehearsal.server.log_tail())
        causes.append(Cause("homeserver died", "the homeserver died", tail, from_log=True))
    proxies = (rehearsal.faults, rehearsal.clear)
    requests = sorted((entry for proxy in proxies for entry in proxy.transcript), key=lambda entry: entry.at)
    bots = {known.bot.user_id for known in rehearsal.bots.values() if known.bot is not None}
    causes += rehearsal.causes()
    return causes + causes_in(requests, bots)


def causes_in(requests: Sequence[Entry], bots: Collection[str]) -> list[Cause]:
    """Return what the requests tell. Those of `bots`, by user id, are not the command's."""
    if not requests:
        return [Cause("no request", "the command made no request at all: does it read MATRIX_HOMESERVER?")]
    own = refused([entry for entry in requests if entry.user not in bots])
    named = [replace(one, headline=one.headline.replace("the bot", "the command")) for one in own]
    return [*named, *refused([entry for entry in requests if entry.user in bots])]


def told(argv: Sequence[str], code: int, causes: Sequence[Cause], bundle: Path) -> str:
    """Return the end of a failed run in lines for a person."""
    how = f"ended with exit code {code}"
    return "\n".join([f"{shlex.join(argv)} {how}", *cause_lines(causes), f"  bundle: {bundle}"])
