"""A question that a bot received and could not decrypt, as its requests and its log tell."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from greenroom.errors import Cause
from greenroom.faults.transcript import Entry

# As matrix-nio, mautrix, matrix-js-sdk and matrix-rust-sdk say it.
SAYS_SO = re.compile(
    r"(?:error|fail\w*|unable|could not|can(?:no|')t)\b[^\n]*\b(?:decrypt|megolm|room key)|DecryptionError",
    re.IGNORECASE,
)
ASKS_FOR_KEYS = "/sendToDevice/m.room_key_request/"
SHOWN = 160


def undecryptable(requests: Sequence[Entry], log: str) -> Iterator[Cause]:
    """Yield that the bot could not decrypt something: it asked other devices for a key, or its log says so."""
    lines = [line.strip() for line in log.splitlines() if SAYS_SO.search(line)]
    shown = (f"its log: {lines[-1][:SHOWN]}",) if lines else ()
    if any(ASKS_FOR_KEYS in entry.path for entry in requests):
        yield Cause("undecryptable", "the bot could not decrypt a message: it asked other devices for its key", shown)
    elif lines:
        yield Cause("undecryptable", "the bot's log says that it could not decrypt a message", shown, from_log=True)
