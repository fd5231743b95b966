"""From a bot's requests and its log to the best cause, without a homeserver."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from greenroom.evidence.cause import Cause, find_causes, repeated
from greenroom.faults.transcript import Entry

BOT, ROOM, ASKED = "@bot:hs1", "!room:hs1", "$question"
NOON = 1_795_262_400.0  # 2026-11-21 12:00:00 UTC
API = "/_matrix/client/v3"
DENIED = json.dumps({"errcode": "M_FORBIDDEN", "error": "User @bot:hs1 not in room !other:hs1"})


def entry(at: float, method: str, path: str, status: int | None = 200, took_s: float | None = 0.01, **more) -> Entry:
    """A request of the bot, `at` seconds after noon."""
    more = {"user": BOT, "query": "", "brought": (), **more}
    return Entry(at=NOON + at, method=method, path=API + path, status=status, duration_s=took_s, **more)


def send(at: float, room: str = ROOM, status: int | None = 200, **more) -> Entry:
    more = {"sent": '{"msgtype": "m.text", "body": "pong"}', **more}
    return entry(at, "PUT", f"/rooms/{room}/send/m.room.message/{at}", status, **more)


def sync(at: float, took_s: float | None = 0.1, brought: tuple[str, ...] = (), **more) -> Entry:
    status = None if took_s is None else 200
    return entry(at, "GET", "/sync", more.pop("status", status), took_s, brought=brought, **more)


LISTENS = [entry(-3, "POST", "/login"), sync(-2.5), entry(-2, "POST", f"/join/{ROOM}"), sync(-1.5, brought=("$hello",))]
ASKS = [*LISTENS, sync(-1, took_s=1.2, brought=(ASKED,))]  # the question arrives 0.2 s after noon


def causes(requests, log="", *, asked: str | None = ASKED, room: str | None = ROOM, now: float = 14.4, **more):
    return find_causes(requests, log, user_id=BOT, since=NOON, asked=asked, room=room, now=NOON + now, **more)


def best(requests, log="", **more) -> str:
    return causes(requests, log, **more)[0].headline


# -- the five breaks


def test_a_wrong_variable_that_falls_back_to_a_default_is_no_request_at_all():
    """A bot that never came to the homeserver may read another variable, so the headline asks for that."""
    said = "the bot has made no request at all: does it read MATRIX_HOMESERVER, or ${…} of it?"
    assert best([]) == said


def test_a_wrong_variable_that_is_not_set_is_named():
    """A KeyError of os.environ is said to be a variable that is not set, at the bot's own line."""
    log = (
        'Traceback (most recent call last):\n  File "/bots/my/bot.py", line 4, in <module>\n'
        '    client = Client(os.environ["HOMESERVER_URL"])\n'
        "  File \"<frozen os>\", line 679, in __getitem__\nKeyError: 'HOMESERVER_URL'\n"
    )
    (cause,) = causes([], log, ended="ended with exit code 1", own=[Path("/bots")])

    assert cause.headline == (
        "the bot ended with exit code 1: KeyError: 'HOMESERVER_URL': "
        "the bot reads an environment variable that is not set"
    )
    assert cause.details == ("my/bot.py:4, in <module>", '  client = Client(os.environ["HOMESERVER_URL"])')


def test_no_join_is_named_with_the_room():
    """A bot that never asked to join has not accepted the invite."""
    requests = [*LISTENS[:2], sync(1, took_s=None)]

    assert best(requests, asked=None) == (f"the bot has not joined {ROOM}: it has made no request to join a room")
    other = [LISTENS[0], entry(-2, "POST", "/join/!x:hs1"), sync(1, took_s=None)]
    assert best(other, asked=None) == f"the bot has not joined {ROOM}: its requests to join were for !x:hs1"


@pytest.mark.parametrize("request_to_join", ["/join/{room}", "/rooms/{room}/join", "/join/%23alias:hs1", "/createRoom"])
def test_a_bot_that_is_in_the_room_is_not_accused_of_staying_out(request_to_join):
    """Both ways to join count; a room that the bot made, or joined by an alias, needs no other join."""
    requests = [entry(-2, "POST", request_to_join.format(room=ROOM)), sync(1, took_s=None)]

    assert [cause for cause in causes(requests, asked=None) if cause.kind == "not joined"] == []


def test_a_refused_join_says_what_the_homeserver_said():
    """The status, the code and the words of the homeserver are in the headline."""
    error = json.dumps({"errcode": "M_BAD_JSON", "error": "Failed to deserialize request."})
    requests = [*LISTENS[:2], entry(1, "POST", f"/join/{ROOM}", 400, answered=error)]
    (cause, *_) = causes(requests, asked=None)

    assert cause.headline == (
        f"the bot could not join {ROOM}: POST /join/{ROOM} was refused: 400 M_BAD_JSON: Failed to deserialize request."
    )
    assert cause.details == ("at 12:00:01, without a body",)


def test_a_missing_body_is_quoted_with_what_the_bot_sent():
    """A refused send has its answer in the headline and its content below."""
    error = json.dumps({"errcode": "M_UNKNOWN", "error": "'body' not in content"})
    requests = [*ASKS, send(0.3, status=400, answered=error, sent='{"msgtype": "m.text"}'), sync(0.4, took_s=None)]
    (cause, *_) = causes(requests)

    assert cause.headline == (
        f"the bot's PUT /rooms/{ROOM}/send/m.room.message was refused: 400 M_UNKNOWN: 'body' not in content"
    )
    assert cause.details == ('at 12:00:00 it sent {"msgtype": "m.text"}',)


def test_a_blocking_call_is_silence_after_receipt():
    """After the question the bot has sent nothing, not even a sync."""
    assert best(ASKS) == (
        "the bot received the question at 12:00:00, and has sent no request since (14.2 s): is it blocked?"
    )


def test_a_bot_that_blocked_before_the_question_has_not_received_it():
    """The last request was before the question."""
    assert best([*LISTENS, sync(-1, took_s=0.2, brought=("$earlier",))]) == (
        "the bot has not received the question: it has made no request since 11:59:59 (15.2 s): is it blocked?"
    )


@pytest.mark.parametrize(("answered_then", "is_cause"), [(True, False), (False, True)])
def test_a_refusal_after_which_the_bot_once_sent_messages_is_no_cause(answered_then, is_cause):
    """A bridge registers its own account at each start, and learns that it exists."""
    first, again = (entry(at, "POST", "/register", 400) for at in (-3.5, 0.05))
    said = [send(-3)] if answered_then else []

    kinds = [cause.kind for cause in causes([first, *said, *ASKS, again, sync(0.3, took_s=None)])]

    assert ("refused" in kinds) == is_cause


def test_a_wrong_room_is_named_whether_the_send_was_refused_or_not():
    """Sends to another room, and none to the room of the question."""
    refused = [*ASKS, send(0.3, "!other:hs1", 403, answered=DENIED), sync(0.4, took_s=None)]
    sent = [*ASKS, send(0.3, "!other:hs1"), sync(0.4, took_s=None)]

    assert best(refused) == (
        f"the bot sent its answer to !other:hs1, and was asked in {ROOM} "
        "(403 M_FORBIDDEN: User @bot:hs1 not in room !other:hs1)"
    )
    assert best(sent) == f"the bot sent its answer to !other:hs1, and was asked in {ROOM}"
    assert best(refused, room=None).startswith("the bot's PUT /rooms/!other:hs1/send/m.room.message was refused: 403")
    assert causes([*sent, send(0.5)]) == []  # it answered where it was asked too


# -- more silences


def test_a_bot_that_went_on_syncing_did_not_want_to_answer():
    """The question came, and syncs followed; what else the bot asked for is in the details."""
    requests = [*ASKS, entry(0.3, "GET", "/profile/@alice:hs1"), sync(0.4), sync(0.6, took_s=None)]
    (cause,) = causes(requests)

    assert cause.headline == (
        "the bot received the question at 12:00:00, went on syncing (2 since), and sent nothing: "
        "did it take that for a question?"
    )
    assert cause.details == ("its other requests since: GET /profile/@alice:hs1",)


def test_an_answer_that_begins_before_the_sync_is_noted_as_over_counts():
    """The proxy notes the end of a sync after the client has it, so the next request may begin a moment earlier."""
    refused = send(0.19, status=403, answered=DENIED)
    went_on = [*ASKS, sync(0.19, took_s=None)]

    assert causes([*ASKS, refused, sync(0.3, took_s=None)])[0].kind == "refused"
    assert causes(went_on)[0].kind == "chose silence"
    assert causes([*LISTENS, sync(0.1, took_s=0.01, brought=(ASKED,))])[0].kind == "blocked"  # not the sync itself


def test_an_open_sync_has_not_brought_the_question():
    """The homeserver has not answered the bot's long poll: perhaps the bot is not in the room."""
    assert best([*LISTENS, sync(-1, took_s=None)]) == (
        "the bot has not received the question: its last sync began at 11:59:59 and has no answer yet (15.4 s)"
    )
    held = [*LISTENS, sync(-1, took_s=None, rule="stalled on /sync")]
    assert best(held).endswith("[stalled on /sync, a fault of this test]")


def test_a_bot_that_answered_has_no_cause():
    """A send in the right room that succeeded explains nothing; a wait for something else has no cause then."""
    assert causes([*ASKS, send(0.3), sync(0.4, took_s=None)]) == []


def test_a_bot_without_a_proxy_is_explained_by_its_log_alone():
    """Without a transcript nothing is said about requests."""
    assert causes(None) == []
    assert causes(None, 'Traceback (most recent call last):\n  File "a.py", line 1\nValueError: no\n') != []


def test_an_open_send_is_named():
    """The bot waits for an answer to a write."""
    assert best([*ASKS, send(0.3, status=None, took_s=None, rule="response held on /send/")]) == (
        f"the bot waits for the answer to its PUT /rooms/{ROOM}/send/m.room.message, since 12:00:00 (14 s) "
        "[response held on /send/, a fault of this test]"
    )


# -- refusals


def test_a_refusal_that_repeats_is_told_once_and_one_that_succeeded_later_is_not_told():
    """Equal refusals are counted. What went well in the end is no trouble, nor is a 404 on a read."""
    lost = [send(0.3 + n, "!gone:hs1", 403, answered=DENIED) for n in range(12)]
    healed = [send(0.3, status=500), send(0.5), entry(0.6, "GET", "/rooms/!r/state/m.x", 404), sync(0.7, took_s=None)]

    assert best([*ASKS, *lost, *healed]).endswith("(the same 12 times)")
    assert causes([*ASKS, *healed]) == []


def test_refusals_before_the_question_do_not_count():
    """Only a refused login counts from before: it happens once."""
    early = send(-2, "!x:hs1", 403, answered=DENIED)
    assert [c.kind for c in causes([*LISTENS, early, *ASKS[-1:]])] == ["blocked"]

    login = entry(-9, "POST", "/login", 403, answered='{"errcode": "M_FORBIDDEN", "error": "Invalid password"}')
    assert best([login]) == (
        "the bot could not log in: POST /login was refused: 403 M_FORBIDDEN: Invalid password; "
        "does it read MATRIX_PASSWORD and MATRIX_USER_ID, or ${…} of them?"
    )


def test_a_fault_of_the_test_is_called_that():
    """An error that a rule made is never the bot's or the homeserver's."""
    hit = send(0.3, status=502, answered="<html>\n<h1>Bad Gateway</h1>", rule="502 with HTML on PUT")

    assert best([*ASKS, hit, sync(0.4, took_s=None)]) == (
        f"the bot met a fault of this test: PUT /rooms/{ROOM}/send/m.room.message was refused: "
        "502 <html> <h1>Bad Gateway</h1> [502 with HTML on PUT]"
    )


def test_a_token_that_is_refused():
    """401 without a fault: the token is wrong or revoked."""
    error = '{"errcode": "M_UNKNOWN_TOKEN", "error": "Invalid access token"}'
    assert best([entry(1, "GET", "/sync", 401, answered=error, user=None)]).startswith(
        "the bot's access token is not valid: GET /sync was refused: 401 M_UNKNOWN_TOKEN: Invalid access token"
    )


def test_another_account_is_named():
    """Requests of another user, and none of the bot's."""
    assert best([replace(ASKS[0], user="@dave:hs1")]) == (
        "the bot uses @dave:hs1, not @bot:hs1: does it read MATRIX_USER_ID?"
    )


# -- waits


LIMITED = '{"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 400}'


def test_one_429_without_a_second_try():
    """The wait that it was told, and how long it has been since."""
    requests = [*ASKS, send(0.3, status=429, answered=LIMITED), sync(0.4, took_s=None)]
    assert best(requests) == (
        f"the bot's PUT /rooms/{ROOM}/send/m.room.message was told to wait 400 ms; it has not tried again in 14 s"
    )
    assert causes(requests, now=0.9) != causes(requests)  # its time is not over yet


def test_a_wait_that_was_not_kept():
    """The next try came before the end of the wait."""
    hit = {"status": 429, "answered": LIMITED, "rule": "429 on PUT"}
    requests = [*ASKS, send(0.3, **hit), send(0.33, **hit), send(0.8), sync(0.9, took_s=None)]

    assert best(requests) == (
        f"the bot's PUT /rooms/{ROOM}/send/m.room.message was told to wait 400 ms; it tried again after 20 ms "
        "[429 on PUT, a fault of this test]"
    )
    assert causes([*ASKS, send(0.3, **hit), send(0.75), sync(0.9, took_s=None)]) == []


def test_a_lost_answer_without_a_second_try():
    """The answer was dropped by a fault, and the bot has given up."""
    lost = send(0.3, status=None, rule="response dropped on PUT")
    assert "got no answer; it has not tried again [response dropped on PUT, a fault" in best([*ASKS, lost, sync(0.5)])
    assert causes([*ASKS, lost, send(0.4), sync(0.5)]) == []


def test_sending_twice_is_explained_by_the_transaction_ids():
    """Two transaction ids for one content: the homeserver cannot know that it is the same message."""
    lost = send(0.3, status=None, server_status=200, rule="response dropped on PUT")
    (cause,) = repeated([*ASKS, lost, send(0.5, server_status=200)])

    assert cause.headline == (
        "the bot sent the same 2 times, under different transaction ids: PUT /rooms/!room:hs1/send/m.room.message"
    )
    assert cause.details == (
        "12:00:00 transaction 0.3 -> no answer [response dropped on PUT]",
        "12:00:00 transaction 0.5 -> 200",
    )
    assert repeated([lost, replace(lost, status=200)]) == []  # one transaction id


# -- the log


TRACE = """\
Traceback (most recent call last):
  File "/venv/lib/python3.11/site-packages/nio/client.py", line 7, in run
    await callback(event)
  File "/bots/echo_bot.py", line 23, in answer
    content = {"body": event.text}
                       ^^^^^^^^^^
AttributeError: 'RoomMessageText' object has no attribute 'text'
"""


def test_an_exception_in_the_log_has_its_own_frames():
    """Frames of libraries are left out, and the last own frame has its source."""
    (cause,) = causes([*ASKS, sync(0.3, took_s=None)], f"starting\n{TRACE}still here\n", own=[Path("/bots")])

    assert cause == Cause(
        "exception",
        "the bot's log has AttributeError: 'RoomMessageText' object has no attribute 'text'",
        ("echo_bot.py:23, in answer", '  content = {"body": event.text}'),
        from_log=True,
    )


def test_an_exception_with_an_older_time_is_not_the_cause():
    """A time in the log before the traceback shows that it happened long before the question."""
    old, new = "2026-11-21T11:58:00Z oops\n", "2026-11-21T12:00:00Z oops\n"

    assert [c.kind for c in causes(ASKS, old + TRACE)] == ["blocked"]
    assert [c.kind for c in causes(ASKS, new + TRACE)] == ["exception"]


def test_a_refusal_comes_before_the_exception_that_it_led_to():
    """The refused request is the first cause, the exception the next."""
    requests = [*ASKS, send(0.3, status=403, answered=DENIED)]
    assert [cause.kind for cause in causes(requests, TRACE)] == ["refused", "exception"]


@pytest.mark.parametrize(
    "line",
    [
        "OSError: [Errno 98] error while attempting to bind on address ('0.0.0.0', 8080): address already in use",
        "Error: listen EADDRINUSE: address already in use :::8080",
        "listen tcp 127.0.0.1:8080: bind: address already in use",
        "EADDRINUSE, port 8080",
    ],
)
def test_a_taken_port_is_named_with_its_holder(line):
    """The port, who listens on it, and whose doing that is."""
    ours = {8080: "another process of this test run (process 7)"}
    (cause,) = causes([], line, ended="ended with exit code 1")
    (known,) = causes([], line, ended="ended with exit code 1", holders=ours)

    assert (
        cause.headline == "the bot ended with exit code 1: it could not open port 8080: another program listens on it"
    )
    assert known.headline == (
        "the bot ended with exit code 1: it could not open port 8080: "
        "another process of this test run (process 7) listens on it; that is Greenroom's doing, not the bot's"
    )
    assert known.details[0] == line


@pytest.mark.parametrize(
    "line", ["sqlite3.OperationalError: database is locked", "FATAL: another instance of mybot is running"]
)
def test_a_lock_is_named(line):
    """Two copies of a bot may collide on a database or a lock file."""
    assert best(ASKS, line) == f"the bot says that something it needs is locked: {line}"


def test_a_question_that_a_sync_left_out_is_named():
    """Later questions came, this one did not: the older of many messages are not in a sync."""
    said = best([*LISTENS, sync(0.5, brought=("$later",)), send(1)], later=("$later",))
    assert said == (
        "no sync brought the bot the question, though one brought later ones: "
        "a sync leaves the older of many messages out, and the bot did not fetch them"
    )


@pytest.mark.parametrize(
    "line",
    [
        "Error decrypting megolm event, no session found with session id abc for room !room:hs1",
        "WARN matrix_sdk_crypto: Failed to decrypt a room event: Can't find the room key to decrypt the event",
        "Error [DecryptionError]: The sender's device has not sent us the keys for this message.",
    ],
)
def test_a_question_that_the_bot_cannot_decrypt_is_named(line):
    """The log says so in the words of its library, or the bot has asked for the key."""
    received = [*ASKS, sync(0.3, took_s=None)]
    asks = entry(0.4, "PUT", "/sendToDevice/m.room_key_request/1")

    (logged,) = causes(received, f"{line}\n")
    (asked,) = causes([*received, asks])

    assert logged == Cause(
        "undecryptable", "the bot's log says that it could not decrypt a message", (f"its log: {line}",), from_log=True
    )
    assert asked.headline == "the bot could not decrypt a message: it asked other devices for its key"


def test_a_bot_with_lost_keys_is_said_not_to_decrypt_before_its_refused_upload_is():
    """The refusal has the reason, but whoever reads only one line learns more from the other."""
    refused = entry(0.35, "POST", "/keys/upload", 400)
    asks = entry(0.4, "PUT", "/sendToDevice/m.room_key_request/1")

    first, second = causes([*ASKS, sync(0.3, took_s=None), refused, asks])

    assert (first.kind, second.kind) == ("undecryptable", "refused")


def test_a_bot_that_speaks_of_decryption_without_a_failure_is_not_blamed_for_it():
    """Only a failure counts."""
    assert [c.kind for c in causes([*ASKS, sync(0.3, took_s=None)], "decrypted 3 room keys\n")] == ["chose silence"]
