"""What is left and said after a command has failed: its bundle, and the first causes."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from greenroom.errors import Cause, Died, cause_lines
from greenroom.evidence.signs.refusals import refused
from greenroom.faults.transcript import Entry
from greenroom.homeserver.interface import RunningHomeserver

FAILURES = Path(".greenroom/failures")


def causes_of(server: RunningHomeserver, requests: Sequence[Entry]) -> list[Cause]:
    """Return what went wrong between a command and its homeserver, as far as it was seen, the worst first."""
    causes = []
    try:
        server.check_alive()
    except Died as error:
        causes.append(Cause("homeserver died", f"the homeserver died: {error.status}", error.tail, from_log=True))
    if not requests:
        causes.append(Cause("no request", "the command made no request at all: does it read MATRIX_HOMESERVER?"))
    of_the_command = (
        replace(one, headline=one.headline.replace("the bot", "the command")) for one in refused(requests)
    )
    return [*causes, *of_the_command]


def told(argv: Sequence[str], code: int, causes: Sequence[Cause], bundle: Path) -> str:
    """Return the end of a failed run in lines for a person."""
    how = f"ended with exit code {code}"
    return "\n".join([f"{shlex.join(argv)} {how}", *cause_lines(causes), f"  bundle: {bundle}"])
