"""`greenroom scenarios`: its options, its table and exit code, and the promises file of a first contact."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from greenroom.errors import CannotTell, Misuse
from greenroom.evidence.record import Record
from greenroom.scenarios import CATALOGUE, NOT_PROMISED, Observed, Result, Verdict, run_all, scenarios_for, table
from greenroom.scenarios.command import Options, repeat, scenarios, what_to_judge
from greenroom.scenarios.findings import Finding, cannot_tell, failed
from greenroom.scenarios.first_contact import promises_text
from greenroom.scenarios.judge import exit_code
from greenroom.scenarios.load import load_promises, parse_promises
from greenroom.scenarios.observed import FILE
from greenroom.scenarios.scenario import Suits

BOT = parse_promises({"command": "python bot.py"}, "x", Path("/"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "name either --bot 'python my_bot.py' or --promises my_bot.yaml"),
        ({"bot": "x", "promises": "y"}, "name either --bot"),
        ({"promises": "y", "ask": "z"}, "--ask, --answer, --encrypted and --write belong to --bot"),
        ({"promises": "y", "write": "z"}, "--ask, --answer, --encrypted and --write belong to --bot"),
        ({"promises": "y", "encrypted": True}, "--ask, --answer, --encrypted and --write belong to --bot"),
        ({"bot": "python", "jobs": "many"}, "--jobs must be a number above 0, not 'many'"),
        ({"bot": "python", "jobs": "2"}, "several copies of the bot at once; it must promise `several: yes`"),
        ({"bot": "python", "only": "answers,fly"}, "there is no scenario 'fly'"),
        ({"bot": "python", "room_version": "11,99"}, "synapse makes no rooms of version '99'; there are 1, 2, "),
        ({"bot": "python", "write": "w.yaml", "room_version": "11,12"}, "--write goes with one --room-version"),
        ({"bot": "python", "write": "/no/such/w.yaml"}, "there is no folder /no/such"),
        ({"bot": "python", "write": __file__}, "exists already"),
        ({"bot": "python", "again": "x"}, "leave out --bot, --promises and --report"),
        ({"again": "/no/such"}, f"there is no {FILE} in /no/such or below"),
        ({"promises": "/no/such.yaml"}, "/no/such.yaml: cannot be read: No such file or directory"),
    ],
)
def test_bad_options_are_refused_before_anything_starts(options, says):
    """A wrong option is refused in one line, before a homeserver starts, and as misuse."""
    with pytest.raises(Misuse, match=says) as caught:
        scenarios(Options(**options))

    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_damaged_record_is_refused_in_one_line(tmp_path):
    """`--again` names the file that it cannot read."""
    (tmp_path / FILE).write_text('{"version": 1, "scenario": "answers"')

    with pytest.raises(Misuse, match=f"{FILE} cannot be judged"):
        scenarios(Options(again=str(tmp_path)))


def test_a_bot_without_a_file_is_an_echo_bot():
    """Without --ask and --answer, the scenarios expect an echo bot."""
    bot = what_to_judge(Options(bot="python x.py", ask="!ping", answer="pong"))

    assert (bot.ask, bot.answer, what_to_judge(Options(bot="python")).answer) == ("!ping", "pong", "{word}")


def test_a_first_contact_in_encrypted_rooms():
    """`--encrypted` adds the scenarios for encrypted chats; a file that is written says so."""
    bot = what_to_judge(Options(bot="python", encrypted=True))

    assert [one.name for one in scenarios_for(bot, ["new-device"])] == ["new-device"]
    assert "encrypted: true" in promises_text(bot, [])
    assert not what_to_judge(Options(bot="python")).encrypted


def test_without_a_file_only_answers_is_promised():
    """What nobody promised is shown, and accuses nobody."""
    promised = {scenario.name: way for scenario in scenarios_for(BOT) if (way := scenario.way_of(BOT))}

    assert promised == {"answers": "yes"}


async def test_two_jobs_need_a_bot_that_allows_it():
    """Two copies at once would meet on ports, locks and caches."""
    with pytest.raises(Misuse, match="`several: yes`"):
        await run_all(None, None, BOT, jobs=2)


@pytest.mark.parametrize("only", [["answers"], ["answers", "kicked", "lost-response"]])
async def test_misuse_that_shows_only_in_a_run_stays_misuse(only, monkeypatch):
    """It is one error with exit code 2, and neither a verdict nor a group of exceptions."""

    async def act(session, server, promises, scenario):
        if scenario.name != "answers" or len(only) == 1:
            raise Misuse("there is no variable ${FLY}")
        return Observed(scenario.name, promises, disturbed=True)

    monkeypatch.setattr(sys.modules["greenroom.scenarios.judge"], "act", act)
    session = SimpleNamespace(part=lambda name: nullcontext(SimpleNamespace(record=Record("x"))))

    with pytest.raises(Misuse, match="there is no variable"):
        await run_all(session, SimpleNamespace(log_path=Path("/no"), backend=None, registration=None), BOT, only=only)


def test_scenarios_are_chosen_by_name_in_the_order_of_the_catalogue():
    """Scenarios run in the catalogue's order, whatever the order of --only; no name means all."""
    suitable = [scenario.name for scenario in CATALOGUE.values() if scenario.suits.holds(BOT)]

    assert [s.name for s in scenarios_for(BOT, ["kicked", "answers"])] == ["answers", "kicked"]
    assert [s.name for s in scenarios_for(BOT)] == suitable


def test_a_scenario_that_does_not_suit_the_bot_is_neither_run_nor_promised(monkeypatch):
    """Whoever names it, or promises it, gets one line; `default: yes` does not promise it."""
    suits = Suits("`kind: parrot`", lambda promises: promises.name == "parrot")
    monkeypatch.setitem(CATALOGUE, "talks-back", replace(CATALOGUE["answers"], name="talks-back", suits=suits))
    parrot = BOT.model_copy(update={"name": "parrot"})
    promised = BOT.model_copy(update={"promises": {"talks-back": "yes"}})

    assert "talks-back" not in [scenario.name for scenario in scenarios_for(BOT)]
    assert [scenario.name for scenario in scenarios_for(parrot, ["talks-back"])] == ["talks-back"]
    assert CATALOGUE["talks-back"].way_of(BOT.model_copy(update={"promises": {"default": "yes"}})) == NOT_PROMISED
    with pytest.raises(Misuse, match="talks-back is only for `kind: parrot`"):
        scenarios_for(BOT, ["talks-back"])
    with pytest.raises(Misuse, match="talks-back is only for `kind: parrot`"):
        CATALOGUE["talks-back"].way_of(promised)


def result(name: str, way: str, verdict: Verdict, *findings: Finding, seconds: float = 2.0) -> Result:
    """Return a result, with an empty record."""
    return Result(name, way, verdict, findings, seconds, observed=Observed(name, BOT))


PASSED = result("answers", "yes", Verdict.PASSED, seconds=1.25)
FAILED = result("kicked", "yes", Verdict.FAILED, failed("it died\nmore"))
UNKNOWN = result("lost-response", "yes", Verdict.INCONCLUSIVE, cannot_tell("no answer"))
DOES = result("message-while-down", "unanswered", Verdict.DOES)
DOES_NOT = result("burst-while-down", "", Verdict.DOES_NOT, failed("'x' was never answered"))
UNSEEN = result("broken-sync", "", Verdict.INCONCLUSIVE, cannot_tell("no answer"))
SKIPPED = Result("state-lost", NOT_PROMISED, Verdict.NOT_PROMISED)


def test_the_table_has_a_line_for_each_and_the_first_line_of_the_reason():
    """Each result is an aligned line with the first line of its reason; an unpromised one has no seconds."""
    assert table([PASSED, FAILED, UNKNOWN, DOES, DOES_NOT, SKIPPED]) == [
        "scenario            way           verdict       seconds",
        "answers             yes           passed        1.2",
        "kicked              yes           failed        2.0      it died",
        "lost-response       yes           inconclusive  2.0      no answer",
        "message-while-down  unanswered    does          2.0",
        "burst-while-down                  does not      2.0      'x' was never answered",
        "state-lost          not promised  not promised",
    ]


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ([PASSED, SKIPPED, DOES, DOES_NOT, UNSEEN], 0),
        ([PASSED, FAILED, UNKNOWN], 1),
        ([PASSED, UNKNOWN], 3),
    ],
)
def test_the_exit_code_says_kept_broken_or_inconclusive(results, code):
    """One broken promise makes the exit code 1, even if others are inconclusive. Only promises count."""
    assert exit_code(results) == code


def test_a_test_raises_what_its_verdict_says():
    """In pytest a failure blames the bot, and no verdict blames nobody."""
    PASSED.check()
    with pytest.raises(AssertionError, match="it died"):
        FAILED.check()
    with pytest.raises(CannotTell, match="no answer"):
        UNKNOWN.check()


def test_first_contact_writes_what_the_bot_does_as_promises(tmp_path):
    """The written file is a promises file. It promises what was seen, and says why a line says `no`."""
    file = tmp_path / "bot.yaml"
    bot = BOT.model_copy(update={"ask": '{"ask": "{word}"}'})
    file.write_text(promises_text(bot, [PASSED, DOES, DOES_NOT, UNSEEN, SKIPPED]))

    promises = load_promises(file)

    assert (promises.command, promises.ask) == ("python bot.py", '{"ask": "{word}"}')
    assert promises.promises == {
        "answers": "yes",
        "message-while-down": "unanswered",
        "burst-while-down": NOT_PROMISED,
        "state-lost": NOT_PROMISED,
    }
    assert "  # does not: 'x' was never answered\n  burst-while-down: no\n" in file.read_text()
    assert "  # inconclusive: no answer\n  # broken-sync:\n" in file.read_text()


def test_first_contact_with_a_silent_bot_is_no_valid_file_of_nothing(tmp_path):
    """A file in which no scenario was conclusive still is YAML that can be read."""
    text = promises_text(BOT, [result("answers", "yes", Verdict.FAILED, failed("silent")), UNSEEN])

    assert yaml.safe_load(text)["promises"] == {"answers": True}


def test_the_command_that_repeats_one_scenario_is_spelled_out():
    """It has the options that name the bot, quoted for a shell."""
    assert repeat(Options(bot="python my bot.py"), "kicked").endswith(
        "scenarios --bot 'python my bot.py' --only kicked"
    )
    assert repeat(Options(bot="x", encrypted=True), "new-device").endswith("--bot x --encrypted --only new-device")
