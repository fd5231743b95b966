"""The judge's rules: pure functions of what a scenario left behind.

A rule yields findings. `failed` is only for what was seen. What was not seen is `inconclusive`, with the sentence that
says so. A scenario without any finding has passed.
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from greenroom.errors import Cause
from greenroom.evidence.cause import repeated
from greenroom.faults import Entry
from greenroom.scenarios.observed import Observed, Question, Trouble, Why, bots_messages


class Verdict(StrEnum):
    """The outcome of one scenario. `does` and `does not` are for what the bot has not promised."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    DOES = "does"
    DOES_NOT = "does not"
    NOT_PROMISED = "not promised"


@dataclass(frozen=True)
class Finding:
    """Something that keeps a scenario from passing: seen (failed), or not seen (inconclusive)."""

    verdict: Verdict
    says: str
    unanswered: Question | None = None  # the question that has no answer, if it is about one
    causes: tuple[Cause, ...] = ()


Rule = Callable[[Observed, str], Iterator[Finding]]  # of a record and the way that is judged
TALKS_ON = 10  # messages beyond one for each question, after which a bot talks to itself


def failed(says: str, unanswered: Question | None = None) -> Finding:
    """Return the finding that something was seen which must not be."""
    return Finding(Verdict.FAILED, says, unanswered)


def cannot_tell(says: str, unanswered: Question | None = None) -> Finding:
    """Return the finding that something was not seen."""
    return Finding(Verdict.INCONCLUSIVE, says, unanswered)


def all_of(*rules: Rule) -> Rule:
    """Return the rule that all of these hold."""

    def rule(observed: Observed, way: str) -> Iterator[Finding]:
        for part in rules:
            yield from part(observed, way)

    return rule


# -- rules that hold in every scenario


def trouble(observed: Observed, way: str) -> Iterator[Finding]:
    """The bot did not end on its own, and the acting came to its end."""
    if observed.trouble is None:
        return
    before = "" if observed.disturbed else "nothing could be tried: "
    if collision := observed.collision():
        yield cannot_tell(before + collision.headline)
    elif observed.trouble is Trouble.DIED and observed.disturbed:
        yield failed(observed.problem)
    else:
        yield cannot_tell(before + observed.problem, _last(observed))


def _last(observed: Observed) -> Question | None:
    """Return the question that the bot owes an answer when it is not heard of any more."""
    waits = observed.trouble in (Trouble.NEVER_ANSWERED, Trouble.WAITED)
    return observed.questions[-1] if waits and observed.questions else None


def nothing_twice(observed: Observed, way: str) -> Iterator[Finding]:
    """No question of this scenario is answered twice, and the bot does not talk on for ever."""
    yield from _repeated(observed, {Why.SUBJECT, Why.AFTER})
    said = bots_messages(observed, {question.room for question in observed.questions})
    if len(said) > len(observed.questions) + TALKS_ON and differ(observed):
        yield failed(f"the bot goes on talking: {len(said)} messages after {len(observed.questions)} questions")


def nothing_old_twice(observed: Observed, way: str) -> Iterator[Finding]:
    """No question from before the disturbance is answered again."""
    yield from _repeated(observed, {Why.FIRST})


def _repeated(observed: Observed, whys: set[Why]) -> Iterator[Finding]:
    for question, expected in counted(observed):
        said = observed.answers_to(question)
        texts = Counter(answer.text for answer in said)
        again = len(said) > expected or (differ(observed) and max(texts.values(), default=0) > 1)
        concerns = question.why in whys or (not differ(observed) and Why.AFTER in whys)
        if concerns and again:
            right = min(expected, len(texts)) if differ(observed) else expected
            says = f"{question.text!r} was {question.answered} {times(len(said))} instead of {times(right)}"
            yield Finding(Verdict.FAILED, says, causes=tuple(repeated(own_requests(observed))))


def counted(observed: Observed) -> list[tuple[Question, int]]:
    """Return questions with the largest number of answers that is right.

    That is the number of messages with which the bot answered its first question. In `answers`, where the next question
    follows at once, any number of different messages is one answer. Answers that do not differ from question to
    question cannot be told apart, so they are counted together, under the first question of a room.
    """
    questions = [question for question in observed.questions if question.why is not Why.QUIET]
    if differ(observed):
        parts = sys.maxsize if observed.scenario in ("answers", "says") else parts_of_an_answer(observed)
        return [(question, parts) for question in questions]
    first = {question.room: question for question in reversed(questions)}
    return [(question, sum(q.room == room for q in questions)) for room, question in first.items()]


def parts_of_an_answer(observed: Observed) -> int:
    """Return with how many messages the bot answered its first question, before it was asked or disturbed again."""
    if not observed.questions:
        return 1
    first, *others = observed.questions
    ids = [event.event_id for event in observed.events]
    until = min((other.begins(ids) for other in others), default=len(ids))
    return max(1, sum(answer.at_index < until for answer in observed.answers_to(first)))


def stays_encrypted(observed: Observed, way: str) -> Iterator[Finding]:
    """A bot of encrypted chats says nothing in plain text there, and nothing that its owner cannot read.

    Reactions do not count: clients send them in plain text. Nor does a message that the owner cannot read from before
    the first question, when the owner may not have joined.
    """
    if not observed.promises.encrypted:
        return
    said = (e for e in observed.events if e.sender == observed.bot and e.type in ("m.room.message", "m.sticker"))
    plain = next((event for event in said if event.in_encrypted_room and not event.encrypted and event.content), None)
    if plain is not None:
        yield failed(f"the bot said {plain.body!r} in plain text in an encrypted room; that must never happen")
    asked = {question.event_id for question in observed.asked(Why.FIRST)}
    since = itertools.dropwhile(lambda event: event.event_id not in asked, observed.events)
    if any(event.sender == observed.bot and event.is_unreadable for event in since):
        yield failed("the bot said something in an encrypted room, and did not share its key with its owner's device")
    if observed.promises.chat == "made by the bot" and any(
        event.event_id in asked and not event.in_encrypted_room for event in observed.events
    ):
        yield failed("the bot made a chat that is not encrypted")


def unsigned_devices(observed: Observed) -> Iterator[str]:
    """Yield a warning for each of the bot's devices that its account has not signed."""
    for device in observed.facts.get("unsigned devices", ()):
        yield f"the bot's device {device} is not cross-signed; clients begin to exclude it (MSC4153)"


def own_requests(observed: Observed) -> list[Entry]:
    """Return the requests of the bot, without those of a user whom the proxy does not know."""
    return [entry for entry in observed.requests if entry.user == observed.bot]


def differ(observed: Observed) -> bool:
    """Return whether each question has an answer of its own."""
    return "{word}" in observed.promises.answer


# -- answers


def first_answered(observed: Observed, way: str) -> Iterator[Finding]:
    """The bot starts, joins, and answers its first question. For whatever keeps it from that, it fails."""
    if observed.trouble not in (None, Trouble.OURS) and not observed.disturbed and not observed.collision():
        yield failed(observed.problem, _last(observed))


def through(observed: Observed, way: str) -> Iterator[Finding]:
    """The bot answered the last of the questions that prove that it is through with what came before."""
    after = list(observed.asked(Why.AFTER))
    if observed.trouble is None and not (after and is_answered(observed, after[-1])):
        yield cannot_tell(unseen(observed, after), after[-1] if after else None)


def again(observed: Observed, way: str) -> Iterator[Finding]:
    """After the disturbance the bot answers."""
    after = list(observed.asked(Why.AFTER))
    if observed.trouble is not None or any(is_answered(observed, question) for question in after):
        return
    received = [question for question in after if observed.brought_at(question) is not None]
    waited_s = observed.ended - after[0].at if after else 0.0
    if received:
        kind = "trigger" if received[0].pulled else "question"
        what = f"{len(received)} {kind}(s), the first {received[0].text!r}"
        yield failed(f"it received {what}, and {received[0].answered} none within {waited_s:.0f} s", received[0])
    else:
        yield cannot_tell(unseen(observed, after), after[0] if after else None)


def answered(observed: Observed, way: str) -> Iterator[Finding]:
    """Every question that the disturbance hit is answered."""
    subjects = list(observed.asked(Why.SUBJECT))
    missing = [question for question in subjects if not is_answered(observed, question)]
    if not differ(observed):
        yield from _answered_together(observed)
    elif missing:
        yield _unanswered(observed, missing[0], f" ({len(missing)} of {len(subjects)})" if len(subjects) > 1 else "")


def _unanswered(observed: Observed, question: Question, of: str) -> Finding:
    if any(is_answered(observed, later) for later in observed.asked(Why.AFTER)):
        later_one = "one" if question.pulled else "question"
        return failed(f"{question.text!r} was never {question.answered}{of}, though a later {later_one} was", question)
    at = observed.brought_at(question)
    if observed.trouble is None and at is not None:
        waited_s = observed.ended - at
        did_not = "did not say it" if question.pulled else "did not answer"
        return failed(f"it received {question.text!r}, and {did_not} within {waited_s:.0f} s{of}", question)
    if question.pulled:
        return cannot_tell(f"nobody saw {question.text!r} said{of}, nor a later one", question)
    return cannot_tell(f"nobody saw an answer to {question.text!r}{of}, nor to a later question", question)


def _answered_together(observed: Observed) -> Iterator[Finding]:
    for question, wanted in counted(observed):
        count = len(observed.answers_to(question))
        last = [q for q in observed.questions if q.room == question.room][-1]
        if count < wanted and is_answered(observed, last):
            yield failed(f"{wanted} questions like {question.text!r} were {question.answered} {times(count)}")
        elif count < wanted:
            yield cannot_tell(f"the last question got no answer: {wanted} questions, answered {times(count)}", last)


def once_or_never(observed: Observed, way: str) -> Iterator[Finding]:
    """The question that the disturbance hit is answered once, or never: as promised."""
    subjects = list(observed.asked(Why.SUBJECT))
    if way != "unanswered":
        for finding in answered(observed, way):
            yield replace(finding, says=f"{finding.says} (if it is meant so, promise `unanswered`)")
    elif differ(observed):
        for question in subjects:
            if count := len(observed.answers_to(question)):
                yield failed(f"{question.text!r} was {question.answered} {times(count)} instead of never")
    else:
        for question, wanted in counted(observed):
            count, most = len(observed.answers_to(question)), wanted - len(subjects)
            if count > most:
                yield failed(f"{question.text!r} was {question.answered} {times(count)} instead of {times(most)}")


def quiet(observed: Observed, way: str) -> Iterator[Finding]:
    """What must not be answered is not answered."""
    for question in observed.asked(Why.QUIET):
        if differ(observed) and observed.answers_to(question):
            yield failed(f"{observed.bot} answered a notice; that must never happen: {question.text!r}")


def is_answered(observed: Observed, question: Question) -> bool:
    """Return whether a question has an answer."""
    return bool(observed.answers_to(question))


def unseen(observed: Observed, after: list[Question]) -> str:
    """Return the sentence that says that no answer proved anything, and what to look at next."""
    if not after:
        return "the scenario came to no question after the disturbance"
    waited_s = observed.ended - after[0].at
    came = any(observed.brought_at(question) is not None for question in after)
    if pulled := after[-1].pulled:
        return f"it said nothing at {len(after)} trigger(s) in {waited_s:.0f} s, the last with {pulled.outcome}"
    look = "its log from there on" if came else "its requests in http.txt: no sync brought it a question"
    return (
        f"no verdict without an answer: {len(after)} question(s) in {waited_s:.0f} s, the last unanswered; see {look}"
    )


def times(count: int) -> str:
    """Return a number of times in words."""
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")


# -- single scenarios


def stopped(observed: Observed, way: str) -> Iterator[Finding]:
    """SIGTERM ended the bot, whenever the scenario stopped it."""
    if observed.facts.get("needed SIGKILL"):
        yield failed("the bot was still running 10 s after SIGTERM and had to be killed")


def rooms_kept(observed: Observed, way: str) -> Iterator[Finding]:
    """The bot is in the same rooms as before, with the same members, and made no new ones."""
    if invited := observed.facts.get("new invites"):
        yield failed(f"after the restart the bot invited its owner to {invited} more room(s)")
    before, now = observed.facts.get("members before"), observed.facts.get("members after")
    if now is not None and before != now:
        yield failed(f"the restart changed room members: before {before}, now {now}")


def lost(observed: Observed, way: str) -> Iterator[Finding]:
    """There was a database to lose."""
    if observed.facts.get("files lost") == 0:
        yield cannot_tell("nothing could be lost: the bot keeps no file at ${MATRIX_DB_PATH}")


def invited_by_stranger(observed: Observed, way: str) -> Iterator[Finding]:
    """The bot joined the stranger's room, or did not, as promised."""
    joined = observed.facts.get("joined the room")
    if joined is None:
        return
    if observed.promises.invites == "owner" and joined:
        yield failed(f"{observed.bot} joined a stranger's room; that must never happen: it promises `invites: owner`")
    if observed.promises.invites == "anyone" and not joined:
        yield failed(f"{observed.bot} did not join a stranger's room, though it promises `invites: anyone`")


def waits_as_told(observed: Observed, way: str) -> Iterator[Finding]:
    """After a 429 the bot waits as long as the homeserver said."""
    told_ms = observed.facts.get("retry after ms", 0)
    tries = [entry for entry in own_requests(observed) if entry.status == 429 and "/send/" in entry.path]
    waits_ms = [1000 * wait_s for wait_s in waits_before_retries(tries)]
    if waits_ms and min(waits_ms) < 0.8 * told_ms:
        yield failed(f"told to wait {told_ms} ms, the bot tried again after {min(waits_ms):.0f} ms")


def waits_before_retries(tries: Iterable[Entry]) -> list[float]:
    """Return the seconds between tries to send the same message.

    Two sends count as one message if room and content are equal; the transaction id may differ. Of encrypted messages
    the transaction id must be the same. Two messages sent at the same time count separately.
    """
    by_message: dict[tuple[str, str], list[float]] = {}
    for entry in tries:
        room, _, transaction = entry.path.rpartition("/")
        # The same text is encrypted differently each time.
        same = transaction if room.endswith("/m.room.encrypted") else entry.sent
        by_message.setdefault((room, same), []).append(entry.at)
    return [later - earlier for times in by_message.values() for earlier, later in itertools.pairwise(times)]


def calm(observed: Observed, way: str) -> Iterator[Finding]:
    """With a dead token the bot sends no flood of requests."""
    if flood := observed.facts.get("flood"):
        yield failed(f"{flood['requests']} requests with a dead token within {flood['seconds']:.1f} s")
