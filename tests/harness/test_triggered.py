"""The verdicts on bots that speak first: a trigger is kept or refused, never lost, and never said twice."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from greenroom.people.seen import SeenEvent
from greenroom.scenarios import Observed, Verdict, judge
from greenroom.scenarios.load import parse_promises
from greenroom.scenarios.observed import Question, Trouble, Why
from greenroom.scenarios.trigger import Pulled

BOT, OWNER, CHAT = "@bot:x", "@owner:x", "!chat:x"
HOOK = {"http": {"url": "http://127.0.0.1/{word}"}}
AWAY = "trigger-while-server-away"
OK, ERROR, TIMEOUT = Pulled("HTTP 200", True, 1.0), Pulled("HTTP 503", False, 1.0), Pulled("no outcome yet")


class Scene:
    """A record in the making. The owner's timeline begins with one event that is no message."""

    def __init__(self, scenario: str, way: str = "yes", **more: object) -> None:
        given = {"command": sys.executable, "trigger": HOOK, "promises": {scenario: way}, **more}
        self.observed = Observed(scenario, parse_promises(given, "x", Path("/")), bot=BOT, disturbed=True)
        self._event("m.room.create", OWNER, {})

    def _event(self, kind: str, sender: str, content: dict) -> None:
        number = len(self.observed.events)
        self.observed.events.append(SeenEvent(CHAT, f"${number}", kind, sender, content, None, False))

    def pulls(self, why: Why, word: str, pulled: Pulled = OK) -> Scene:
        last = self.observed.events[-1].event_id
        answer = self.observed.promises.expected(word, bot=BOT)
        question = Question(why, CHAT, "", f"POST with {word}", answer, 1.0, after=last, pulled=pulled)
        self.observed.questions.append(question)
        return self

    def asks(self, why: Why, word: str) -> Scene:
        text = self.observed.promises.question(word, bot=BOT)
        self.observed.questions.append(Question(why, CHAT, f"${len(self.observed.events)}", text, word, 1.0))
        self._event("m.room.message", OWNER, {"msgtype": "m.text", "body": text})
        return self

    def says(self, *words: str) -> Scene:
        for word in words:
            self._event("m.room.message", BOT, {"msgtype": "m.text", "body": word})
        return self

    def verdict(self) -> tuple[Verdict, str]:
        """Return the verdict and its first finding. The same must follow from the record that a bundle keeps."""
        self.observed.ended = 10.0
        result, again = judge(self.observed), judge(Observed.from_json(self.observed.to_json()))
        assert (again.verdict, again.reason) == (result.verdict, result.reason)
        return result.verdict, result.findings[0].says if result.findings else ""


def begun(scenario: str, way: str = "yes", *parts: str, **more: object) -> Scene:
    """Return a record in which the bot has said what its first trigger asked for, in one message or in parts."""
    return Scene(scenario, way, **more).pulls(Why.FIRST, "a").says(*(parts or ["a"]))


def through(one: Scene) -> Scene:
    """Let the bot say what two later triggers ask for."""
    return one.pulls(Why.AFTER, "y").says("y").pulls(Why.AFTER, "z").says("z")


def test_what_is_said_once_has_passed():
    """The position of a trigger is the latest event before it."""
    assert through(begun("says")).verdict() == (Verdict.PASSED, "")


def test_what_is_said_twice_has_failed():
    """The message names the trigger."""
    assert through(begun("says", "yes", "a", "a")).verdict() == (
        Verdict.FAILED,
        "'POST with a' was said twice instead of once",
    )
    twice = through(begun("lost-response").pulls(Why.SUBJECT, "x").says("x", "x"))
    assert twice.verdict() == (Verdict.FAILED, "'POST with x' was said twice instead of once")


def test_a_saying_in_two_parts_is_two_messages_each_time():
    """The last part stands right before the next trigger, and still counts."""
    one = begun("lost-response", "yes", "a 1", "a 2").pulls(Why.SUBJECT, "x").says("x 1", "x 2")

    assert one.pulls(Why.AFTER, "z").says("z 1", "z 2").verdict() == (Verdict.PASSED, "")


def test_what_was_said_before_a_trigger_is_not_said_at_it():
    """A text without a word is the same each time, so the position counts."""
    one = begun("says", "yes", "alarm", says="alarm").pulls(Why.AFTER, "y").says("alarm").pulls(Why.AFTER, "z")

    assert one.verdict()[0] is Verdict.INCONCLUSIVE
    assert one.says("alarm").verdict() == (Verdict.PASSED, "")


def test_an_accepted_trigger_that_is_never_said_has_failed():
    """The bot has received it: it said so itself."""
    verdict, says = begun("kicked").pulls(Why.AFTER, "y").verdict()

    assert (verdict, says) == (
        Verdict.FAILED,
        "it received 1 trigger(s), the first 'POST with y', and said none within 9 s",
    )


@pytest.mark.parametrize("pulled", [ERROR, TIMEOUT])
def test_a_trigger_that_was_not_accepted_proves_nothing(pulled):
    """What the bot has not taken it need not say. The outcome is told."""
    verdict, says = begun("kicked").pulls(Why.AFTER, "y", pulled).verdict()

    assert verdict is Verdict.INCONCLUSIVE
    assert says == f"it said nothing at 1 trigger(s) in 9 s, the last with {pulled.outcome}"


def test_a_bot_that_never_spoke_is_told_the_outcome_of_its_trigger():
    """No cause speaks of syncs, which bring no trigger."""
    one = Scene("says").pulls(Why.FIRST, "a", ERROR)
    one.observed.disturbed, one.observed.trouble, one.observed.problem = False, Trouble.NEVER_ANSWERED, "silent"
    result = judge(one.observed)

    assert result.verdict is Verdict.FAILED
    assert "the trigger, POST with a: HTTP 503" in result.reason
    assert "sync" not in result.reason


@pytest.mark.parametrize(
    ("way", "pulled", "said", "verdict", "says"),
    [
        ("kept", OK, 1, Verdict.PASSED, ""),
        ("kept", TIMEOUT, 1, Verdict.PASSED, ""),
        ("kept", OK, 0, Verdict.FAILED, "(HTTP 200) was lost: neither refused nor ever said, though a later one was"),
        ("kept", TIMEOUT, 0, Verdict.FAILED, "was lost: neither refused nor ever said"),
        ("kept", ERROR, 0, Verdict.FAILED, "was refused instead of kept (if it is meant so, promise `refused`)"),
        ("kept", ERROR, 1, Verdict.FAILED, "was refused, and said all the same"),
        ("kept", OK, 2, Verdict.FAILED, "was said twice instead of once"),
        ("refused", ERROR, 0, Verdict.PASSED, ""),
        ("refused", ERROR, 1, Verdict.FAILED, "was refused, and said all the same"),
        ("refused", OK, 1, Verdict.FAILED, "was kept instead of refused (if it is meant so, promise `kept`)"),
        ("refused", OK, 0, Verdict.FAILED, "was lost: neither refused nor ever said"),
    ],
)
def test_a_trigger_while_the_server_is_away_is_kept_or_refused(way, pulled, said, verdict, says):
    """As promised; silently lost, or refused and said all the same, is wrong either way."""
    one = through(begun(AWAY, way).pulls(Why.SUBJECT, "x", pulled).says(*["x"] * said))

    found = one.verdict()

    assert found[0] is verdict
    assert found[1].endswith(says) or says in found[1]


def test_a_trigger_is_lost_only_if_a_later_one_was_said():
    """A bot that says nothing more may be slow: what was not seen is inconclusive."""
    verdict, says = begun(AWAY, "kept").pulls(Why.SUBJECT, "x").pulls(Why.AFTER, "y").verdict()

    assert (verdict, says) == (Verdict.INCONCLUSIVE, "nobody saw 'POST with x' (HTTP 200) said, nor a later one")


def test_what_nobody_promised_is_told_as_it_is():
    """Without a promise the verdict names the way."""
    one = begun("says")
    one.observed.scenario = AWAY
    through(one.pulls(Why.SUBJECT, "x", ERROR))

    assert (judge(one.observed).verdict, judge(one.observed).way) == (Verdict.DOES, "refused")


@pytest.mark.parametrize(
    ("way", "late", "said", "verdict", "says"),
    [
        ("once", False, 1, Verdict.PASSED, ""),
        ("once", False, 0, Verdict.FAILED, "'in 3 s x' was never answered, though a later question was"),
        ("once", False, 2, Verdict.FAILED, "'in 3 s x' was answered twice instead of once"),
        ("unanswered", False, 0, Verdict.PASSED, ""),
        ("unanswered", False, 1, Verdict.FAILED, "'in 3 s x' was answered once instead of never"),
        ("once", True, 1, Verdict.INCONCLUSIVE, "it was due before the disturbance began: 3 s are too short"),
    ],
)
def test_what_was_due_while_the_bot_was_down_is_said_once_or_never(way, late, said, verdict, says):
    """As promised. If it was due too early, nothing was disturbed."""
    one = Scene("due-while-down", way, trigger={"seconds": 3}, ask="in 3 s {word}")
    for why, word, count in ((Why.FIRST, "a", 1), (Why.SUBJECT, "x", said), (Why.AFTER, "z", 1)):
        one.asks(why, word).says(*[word] * count)
    one.observed.facts["late"] = late

    found = one.verdict()

    assert (found[0], found[1].startswith(says)) == (verdict, True)
