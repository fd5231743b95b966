"""A timeline shows what matters: dull lines are folded, and a request stands there once."""

from __future__ import annotations

from dataclasses import replace

from greenroom.evidence.folding import fold, fold_repeats, merge_requests
from greenroom.evidence.timeline import Moment, Request, moment_of_entry, moments_of_server_log
from greenroom.faults.transcript import Entry

API = "/_matrix/client/v3"


def entry(at: float, method: str, path: str, status: int | None = 200, **more) -> Entry:
    """A request of the bot at the proxy."""
    more = {"user": "@bot:x", "query": "", "duration_s": 0.02, **more}
    return Entry(at=at, method=method, path=API + path, status=status, **more)


def of_server(at: float, method: str, path: str, user: str = "@bot:x", status: int = 200) -> Moment:
    """A request in the homeserver's log."""
    request = Request(user, method, path if path.startswith("/_syn") else API + path, status, 0.004, proxied=False)
    return Moment(at, "homeserver", f"{method} {path} -> {status} by {user}, 0.004 s", request=request)


def texts(moments) -> list[str]:
    return [moment.text for moment in moments]


def test_a_request_of_the_proxy_and_of_the_homeserver_is_one_line():
    """The proxy's line stays, with the homeserver's time. Another person's request is not taken for it."""
    sent = moment_of_entry(entry(5.0, "PUT", "/rooms/!r/send/m.room.message/1", sent="{}"))
    same = of_server(5.001, "PUT", "/rooms/!r/send/m.room.message/1")
    others = [of_server(5.001, "PUT", "/rooms/!r/send/m.room.message/1", user="@alice:x"), replace(same, at=9.0)]

    merged = merge_requests([sent, same, *others])

    assert len(merged) == 3
    assert merged[0].text.endswith("-> 200, 20 ms (homeserver 0.004 s)")
    assert texts(merged[1:]) == texts(others)


def test_two_equal_requests_have_two_lines_of_the_homeserver():
    """Each line of the homeserver belongs to one request."""
    ours = [moment_of_entry(entry(at, "GET", "/sync")) for at in (5.0, 5.1)]
    theirs = [of_server(at, "GET", "/sync") for at in (5.01, 5.11, 5.2)]

    assert len(merge_requests([*ours, *theirs])) == 3


def test_polls_and_registration_are_folded_and_counted():
    """Three dull lines in a row leave one line; two leave none. All are counted."""
    polls = [of_server(1.0 + n, "GET", "/sync", user="@alice:x") for n in range(14)]
    registered = [of_server(16.0, "POST", "/_synapse/admin/v1/register"), of_server(16.1, "POST", "/keys/upload")]
    said = Moment(15.5, "bot", "hello")

    folded = fold([*polls, said, *registered])

    assert texts(folded.moments) == ["14 polls of @alice", "hello"]
    assert folded.told() == "14 polls of @alice, 1 registration, 1 request for keys or versions"


def test_what_matters_is_not_folded():
    """Syncs that brought something, failed, are open or were hit by a fault; the bot's own login; log lines."""
    kept = [
        entry(1.0, "GET", "/sync", brought=("$a",)),
        entry(2.0, "GET", "/sync", 401),
        entry(3.0, "GET", "/sync", None, duration_s=None),
        entry(4.0, "GET", "/sync", rule="delayed by 1 s on /sync"),
        entry(5.0, "POST", "/keys/upload"),
        entry(6.0, "POST", "/login"),
    ]
    moments = [*map(moment_of_entry, kept), of_server(7.0, "GET", "/sync", status=500), Moment(8.0, "bot", "x")]

    assert fold([*moments, moment_of_entry(entry(9.0, "GET", "/sync"))]).moments == moments
    assert moments[0].more == ("  brought 1 event(s)",)


def test_a_failure_that_repeats_stands_there_once():
    """A block of lines that repeats is counted; transaction ids and times make no difference."""
    moments = []
    for n in range(12):
        moments.append(moment_of_entry(entry(n, "PUT", f"/rooms/!r/send/m.room.message/{n}", 403, sent="{}")))
        moments.append(Moment(n + 0.5, "bot", f"2026-11-21 12:00:{n:02} send failed after {n} ms"))
    end = Moment(99.0, "bot", "gave up")

    folded = fold_repeats([*moments, end])

    assert texts(folded) == [*texts(moments[:2]), "(the same 2 lines 12 times)", "gave up"]


def test_what_succeeds_or_differs_does_not_repeat():
    """Successful sends are each shown, and so are lines that differ."""
    sends = [moment_of_entry(entry(n, "PUT", f"/rooms/!r/send/m.room.message/{n}")) for n in range(5)]
    lines = [Moment(n, "bot", f"question {n}") for n in range(5)]
    twice = [Moment(1.0, "bot", "again"), Moment(2.0, "bot", "again")]

    assert fold_repeats([*sends, *lines, *twice]) == [*sends, *lines, *twice]


def test_a_line_of_synapse_becomes_a_request():
    """Method, decoded path without its query, status and user."""
    line = (
        "2026-11-21 12:00:02,500 INFO synapse.access.http.0 GET-4 127.0.0.1 - 0 - {@a:x} Processed request: "
        "0.500sec/0.005sec ru=(0.0sec, 0.0sec) db=(0.0sec/0.0sec/12) 59B 200 "
        '"GET /rooms/%21r/x?since=1 HTTP/1.1" "" [0]\n'
    )
    (moment,) = moments_of_server_log("homeserver", line, began=0.0)

    assert moment.request == Request("@a:x", "GET", "/rooms/!r/x", 200, 0.5, proxied=False)
