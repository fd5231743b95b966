"""The transcript of the fault proxy: which requests count as having reached the homeserver."""

from __future__ import annotations

import time
from typing import Any

import pytest

from greenroom.faults.transcript import Entry, Transcript

SEND = "/_matrix/client/v3/rooms/!r/send/m.room.message/t1"


@pytest.mark.parametrize(
    ("seen", "counts"),
    [
        ({}, False),
        ({"forwarded": True}, True),
        ({"forwarded": True, "duration_s": 0.1}, False),
        ({"forwarded": True, "duration_s": 0.1, "server_status": 200}, True),
        ({"duration_s": 0.1, "status": 502}, False),
    ],
    ids=["held back", "under way", "never answered", "answered", "answered by a fault"],
)
def test_a_write_counts_from_when_the_homeserver_may_have_carried_it_out(seen: dict[str, Any], counts: bool):
    """A person can see a message before the answer to its send arrives, so a write counts while it is under way."""
    transcript = Transcript()
    transcript.begin(Entry(time.time(), "PUT", SEND, "", "@bot:hs", **seen))

    assert bool(transcript.writes("@bot:hs")) is counts


def test_a_bounded_transcript_keeps_the_latest_and_its_positions_stay_right():
    """Memory does not grow with the length of a `dev`; who reads on from a position misses nothing that is kept."""
    transcript = Transcript(kept=10)
    seen, position, most = [], 0, 0
    for n in range(95):
        transcript.begin(Entry(float(n), "GET", f"/{n}", "", None))
        most = max(most, len(transcript.entries()))
        if n % 4 == 0:
            new, position = transcript.since(position)
            seen += [entry.path for entry in new]

    assert most < 20
    assert [entry.path for entry in transcript][-10:] == [f"/{n}" for n in range(85, 95)]
    assert len(transcript) == 95
    assert seen == [f"/{n}" for n in range(93)]
    assert [entry.path for entry in transcript.entries(since=93)] == ["/93", "/94"]
    assert transcript.since(0)[0] == transcript.entries()
