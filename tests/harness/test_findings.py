"""Verdicts are a pure function of what a scenario left behind: seen is failed, not seen is inconclusive."""

from __future__ import annotations

from pathlib import Path

import pytest

from greenroom.faults import Entry
from greenroom.people.seen import SeenEvent
from greenroom.scenarios import Observed, Verdict, judge, judge_bundles, scenarios_for
from greenroom.scenarios.load import parse_promises
from greenroom.scenarios.observed import FILE, Question, Trouble, Why

MEANT = " (if it is meant so, promise `unanswered`)"
NEVER = f"'x' was never answered, though a later question was{MEANT}"
BOT, ALICE, CHAT = "@bot:greenroom.test", "@owner:greenroom.test", "!chat:greenroom.test"


class Scene:
    """A record in the making: `asks` and `says` put events into one room, a second apart."""

    def __init__(self, scenario: str, answer: str = "{word}", **promised: str) -> None:
        given = {"command": "python", "answer": answer, "promises": {scenario.replace("_", "-"): "yes"} | promised}
        promises = parse_promises(given, "x", Path("/"))
        self.observed = Observed(scenario, promises, bot=BOT, disturbed=True)

    @property
    def now(self) -> float:
        return 1000.0 + len(self.observed.events)

    def asks(self, why: Why, word: str, *, brought: bool = True) -> Scene:
        event_id = f"$ask-{word}"
        answer = self.observed.promises.expected(word, bot=BOT)
        self.observed.questions.append(Question(why, CHAT, event_id, word, answer, self.now))
        if brought:
            sync = Entry(self.now, "GET", "/sync", "", BOT, status=200, duration_s=0.1, brought=(event_id,))
            self.observed.requests.append(sync)
        return self._said(ALICE, event_id, word)

    def says(self, *words: str) -> Scene:
        for word in words:
            self._said(BOT, f"$say-{len(self.observed.events)}", word)
        return self

    def _said(self, sender: str, event_id: str, text: str) -> Scene:
        content = {"msgtype": "m.text", "body": text}
        self.observed.events.append(SeenEvent(CHAT, event_id, "m.room.message", sender, content, None, False))
        return self

    def meets(self, trouble: Trouble, problem: str) -> Scene:
        self.observed.trouble, self.observed.problem = trouble, problem
        return self

    def notes(self, **facts: object) -> Scene:
        self.observed.facts |= {name.replace("_", " "): value for name, value in facts.items()}
        return self

    def verdict(self) -> tuple[Verdict, str]:
        """Return the verdict and what was found; the same must follow from the record that a bundle keeps."""
        self.observed.ended = self.now + 20
        result = judge(self.observed)
        again = judge(Observed.from_json(self.observed.to_json()))
        assert (again.verdict, again.reason) == (result.verdict, result.reason)
        return result.verdict, result.findings[0].says if result.findings else ""


def scene(name: str, answer: str = "{word}", **promised: str) -> Scene:
    """Return a record in which the bot has answered its first question."""
    return Scene(name, answer, **promised).asks(Why.FIRST, "a").says("a" if "{word}" in answer else answer)


def through(one: Scene) -> Scene:
    """Let the bot answer two later questions."""
    return one.asks(Why.AFTER, "y").says("y").asks(Why.AFTER, "z").says("z")


def test_what_went_well_has_passed():
    """Everything is answered once."""
    assert through(scene("answers")).verdict() == (Verdict.PASSED, "")


def test_a_second_answer_was_seen():
    """Two answers to one question fail any scenario, also one in which the proof does not come."""
    one = scene("restart-repeats-nothing").says("a").asks(Why.AFTER, "y")

    assert one.verdict() == (Verdict.FAILED, "'a' was answered twice instead of once")


@pytest.mark.parametrize("name", ["answers", "restart-repeats-nothing", "lost-response"])
def test_an_answer_may_have_several_messages(name):
    """A bot that says first what it does, and then what it found, answers once."""
    one = Scene(name).asks(Why.FIRST, "a").says("looking for a", "a is here")
    for why, word in ((Why.SUBJECT, "x"), (Why.AFTER, "y"), (Why.AFTER, "z")):
        one.asks(why, word).says(f"looking for {word}", f"{word} is here")

    assert one.verdict() == (Verdict.PASSED, "")


@pytest.mark.parametrize("more", ["a", "a at 12:05"])
def test_an_old_answer_in_other_words_is_an_answer_again(more):
    """After a restart another message for an old question is too much, whatever its words."""
    one = through(scene("restart-repeats-nothing").asks(Why.FIRST, "b").says("b", more))

    assert one.verdict() == (Verdict.FAILED, "'a' was answered twice instead of once")


@pytest.mark.parametrize("name", ["server-restart", "gateway-errors", "broken-sync"])
def test_an_old_question_is_not_answered_again_without_a_restart(name):
    """After a failed sync a bot must go on from where it was, not from where it began."""
    one = through(scene(name).asks(Why.SUBJECT, "x").says("a", "x"))

    assert one.verdict() == (Verdict.FAILED, "'a' was answered twice instead of once")


def test_a_bot_that_talks_for_ever_was_seen():
    """Many more messages than questions are no answers any more, whatever they say."""
    one = through(scene("answers")).says(*(f"{number} more" for number in range(20)))

    assert one.verdict() == (Verdict.FAILED, "the bot goes on talking: 23 messages after 3 questions")


def test_without_the_later_answer_there_is_no_verdict():
    """An unanswered sentinel is no fault: three words were sent, and three answers came."""
    one = scene("restart-repeats-nothing").asks(Why.AFTER, "y")

    assert one.verdict() == (
        Verdict.INCONCLUSIVE,
        "no verdict without an answer: 1 question(s) in 21 s, the last unanswered; see its log from there on",
    )


def test_an_unreceived_question_points_to_the_requests():
    """If no sync brought the question, its log has nothing to say."""
    one = scene("restart-repeats-nothing").asks(Why.AFTER, "y", brought=False)

    assert one.verdict()[1].endswith("see its requests in http.txt: no sync brought it a question")


def test_a_bot_that_answers_again_may_drop_one_question():
    """restart-keeps-rooms asks whether it answers at all; the first message has a scenario of its own."""
    one = scene("restart-keeps-rooms").asks(Why.AFTER, "x").asks(Why.AFTER, "y").says("y")

    assert one.verdict()[0] is Verdict.PASSED


def test_silence_after_receipt_was_seen():
    """Three received questions without an answer are what the promise forbids."""
    one = scene("restart-keeps-rooms")
    for word in "xyz":
        one.asks(Why.AFTER, word)

    verdict, why = one.verdict()
    assert verdict is Verdict.FAILED
    assert why.startswith("it received 3 question(s), the first 'x', and answered none within")


def test_silence_without_receipt_was_not_seen():
    """A bot that never got the questions is not accused."""
    one = scene("kicked").asks(Why.AFTER, "x", brought=False)

    assert one.verdict()[0] is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("said", "promised", "verdict", "says"),
    [
        (["x"], "once", Verdict.PASSED, ""),
        ([], "unanswered", Verdict.PASSED, ""),
        ([], "once", Verdict.FAILED, NEVER),
        (["x"], "unanswered", Verdict.FAILED, "'x' was answered once instead of never"),
        (["x", "x"], "once", Verdict.FAILED, "'x' was answered twice instead of once"),
    ],
)
def test_once_or_never_as_promised(said, promised, verdict, says):
    """A question from the downtime."""
    one = scene("message-while-down", **{"message-while-down": promised}).asks(Why.SUBJECT, "x").says(*said)

    assert through(one).verdict() == (verdict, says)


@pytest.mark.parametrize(
    ("said", "verdict", "way"),
    [(["x"], Verdict.DOES, "once"), ([], Verdict.DOES, "unanswered"), (["x", "x"], Verdict.DOES_NOT, "")],
)
def test_what_is_not_promised_is_shown(said, verdict, way):
    """Without a promise the verdict says what the bot does, and accuses nobody."""
    one = through(scene("message-while-down", **{"message-while-down": None}).asks(Why.SUBJECT, "x").says(*said))
    one.observed.promises = parse_promises({"command": "python"}, "x", Path("/"))

    result = judge(one.observed)

    assert (result.verdict, result.way) == (verdict, way)


@pytest.mark.parametrize(
    ("answers", "promised", "verdict", "says"),
    [
        (4, "once", Verdict.PASSED, ""),
        (3, "once", Verdict.FAILED, f"4 questions like 'a' were answered 3 times{MEANT}"),
        (5, "once", Verdict.FAILED, "'a' was answered 5 times instead of 4 times"),
        (3, "unanswered", Verdict.PASSED, ""),
        (4, "unanswered", Verdict.FAILED, "'a' was answered 4 times instead of 3 times"),
    ],
)
def test_answers_that_do_not_differ_are_counted_together(answers, promised, verdict, says):
    """`answer: pong` for every question."""
    one = scene("message-while-down", "pong", **{"message-while-down": promised}).asks(Why.SUBJECT, "x")
    one.says(*["pong"] * (answers - 3)).asks(Why.AFTER, "y").says("pong").asks(Why.AFTER, "z").says("pong")

    assert one.verdict() == (verdict, says)


def test_a_bot_without_a_database_cannot_lose_it():
    """Deleting nothing is no disturbance, and so no verdict."""
    one = through(scene("state-lost").notes(files_lost=0))

    assert one.verdict() == (
        Verdict.INCONCLUSIVE,
        "nothing could be lost: the bot keeps no file at ${MATRIX_DB_PATH}",
    )


def test_a_missing_answer_begins_with_its_cause():
    """The homeserver refused the answer: that is the first line, before what the scenario found."""
    one = scene("lost-response").asks(Why.SUBJECT, "x")
    path = "/_matrix/client/v3/rooms/!other:greenroom.test/send/m.room.message/1"
    body = '{"errcode": "M_FORBIDDEN", "error": "not in the room"}'
    one.observed.requests.append(Entry(one.now, "PUT", path, "", BOT, status=403, duration_s=0.1, answered=body))
    through(one).verdict()

    first, *others = judge(one.observed).reason.splitlines()

    assert "403" in first
    assert "!other:greenroom.test" in first
    assert others[-1] == "'x' was never answered, though a later question was"


def test_a_port_in_use_is_nobodys_promise():
    """A bot that cannot open its port has no verdict, and the line says who has the port."""
    one = Scene("answers").meets(Trouble.DIED, "bot died")
    one.observed.disturbed = False
    one.observed.log = "OSError: [Errno 98] error while attempting to bind on address ('127.0.0.1', 8080): in use\n"
    one.observed.log = one.observed.log.replace("in use", "address already in use")
    one.observed.holders = {"8080": "another process of this test run (process 7)"}

    verdict, says = one.verdict()

    assert verdict is Verdict.INCONCLUSIVE
    assert "port 8080: another process of this test run (process 7) listens on it" in says
    assert "Greenroom's doing, not the bot's" in says


def test_a_death_was_seen_and_a_dead_homeserver_is_ours():
    """A bot fails for its own end, not for the homeserver's."""
    died = scene("kicked").meets(Trouble.DIED, "bot died: ended with exit code 1")
    ours = scene("kicked").meets(Trouble.OURS, "homeserver died: signal 9")

    assert died.verdict() == (Verdict.FAILED, "bot died: ended with exit code 1")
    assert ours.verdict() == (Verdict.INCONCLUSIVE, "homeserver died: signal 9")


@pytest.mark.parametrize("trouble", [Trouble.NOT_READY, Trouble.WAITED])
def test_what_never_came_was_not_seen(trouble):
    """A bot that is not ready in time, or sends nothing that a fault could hit, has no verdict."""
    assert scene("lost-response").meets(trouble, "nothing").verdict() == (Verdict.INCONCLUSIVE, "nothing")


@pytest.mark.parametrize("trouble", [Trouble.DIED, Trouble.NEVER_ANSWERED, Trouble.NOT_READY])
def test_a_bot_that_never_answered_fails_one_scenario(trouble):
    """`answers` is about the first question; in all others nothing could be tried."""
    verdicts = {}
    for name in ("answers", "kicked"):
        one = Scene(name) if trouble is Trouble.DIED else Scene(name).asks(Why.FIRST, "a")
        one.meets(trouble, "silent").observed.disturbed = False
        verdicts[name] = one.verdict()

    assert verdicts["answers"] == (Verdict.FAILED, "silent")
    assert verdicts["kicked"] == (Verdict.INCONCLUSIVE, "nothing could be tried: silent")


@pytest.mark.parametrize(
    ("name", "facts", "says"),
    [
        ("stops-when-asked", {"needed_SIGKILL": True}, "still running 10 s after SIGTERM"),
        ("restart-keeps-rooms", {"new_invites": 2}, "invited its owner to 2 more room(s)"),
        ("restart-keeps-rooms", {"members_before": {"!a": [BOT]}, "members_after": {"!a": []}}, "changed room members"),
        ("invite-from-a-stranger", {"joined_the_room": False}, "did not join a stranger's room"),
        ("dead-token", {"flood": {"requests": 57, "seconds": 0.1}}, "57 requests with a dead token within 0.1 s"),
    ],
)
def test_what_a_scenario_measured_is_judged(name, facts, says):
    """Each measured fact that breaks a promise is a failure that names it."""
    verdict, why = through(scene(name).notes(**facts)).verdict()

    assert verdict is Verdict.FAILED
    assert says in why


def test_every_scenario_is_judged_from_its_record_alone(tmp_path):
    """Kept records of all scenarios for a plain bot give the same table again."""
    names = [one.name for one in scenarios_for(parse_promises({"command": "python"}, "x", Path("/")))]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / FILE).write_text(through(scene(name)).observed.to_json())

    assert [result.scenario for result in judge_bundles(tmp_path)] == names
