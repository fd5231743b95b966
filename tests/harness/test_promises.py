"""Promises files are checked and read; results become a table and an exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from greenroom.errors import CannotTell, Misuse
from greenroom.scenarios import CATALOGUE, NOT_PROMISED, Result, Verdict, chosen_scenarios, load_promises, table
from greenroom.scenarios.command import scenarios, what_to_judge
from greenroom.scenarios.judge import exit_code
from greenroom.scenarios.load import parse_promises


def promised(**promises) -> dict[str, str]:
    """Return the promised way of each scenario, for these lines of a promises file."""
    bot = parse_promises({"command": "x", "promises": promises}, "x.yaml", Path("/"))
    return {name: scenario.way_of(bot) for name, scenario in CATALOGUE.items()}


def test_an_unnamed_scenario_is_promised_in_its_default_way():
    """A bot promises every scenario by default, except two that it must promise explicitly."""
    everything = promised()

    assert everything["answers"] == "yes"
    assert everything["message-while-down"] == "once"
    assert [name for name, way in everything.items() if way == NOT_PROMISED] == ["burst-while-down", "state-lost"]


def test_yes_no_and_words_are_understood():
    """`yes`, `no` and the name of a way are valid, though YAML reads yes and no as booleans."""
    found = promised(
        **{"kicked": False, "state-lost": True, "burst-while-down": "once", "killed-before-answer": "unanswered"}
    )

    assert found["kicked"] == NOT_PROMISED
    assert (found["state-lost"], found["burst-while-down"], found["killed-before-answer"]) == (
        "yes",
        "once",
        "unanswered",
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("command: x\npromises: {fly: yes}", "promises: there is no scenario 'fly'; there are answers, "),
        (
            "command: x\npromises: {kicked: twice}",
            "promises: kicked cannot be 'twice'; it can be yes, no",
        ),
        ("command: x\npromises: {message-while-down: twice}", "it can be yes, once, unanswered, no"),
        ("name: x", "command: Field required"),
        ("command: x\nfrob: 1", "frob: Extra inputs are not permitted"),
        ("- 1", "must be a mapping with at least `command`"),
        ("{", "is not YAML"),
        ("command: ''", "the bot's command is empty"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_place(tmp_path, text, says):
    """A mistake in a promises file is one line that names the file and the place."""
    file = tmp_path / "bot.yaml"
    file.write_text(text)

    with pytest.raises(Misuse) as caught:
        load_promises(file)

    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_folder_of_the_bot_is_that_of_the_file(tmp_path):
    """A relative `cwd` is below the folder of the promises file, wherever the command runs."""
    (tmp_path / "bot.yaml").write_text("command: python bot.py\ncwd: src")

    assert load_promises(tmp_path / "bot.yaml").cwd == tmp_path / "src"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "name either --bot 'python my_bot.py' or --promises my_bot.yaml"),
        ({"bot": "x", "promises": "y"}, "name either --bot"),
        ({"promises": "y", "ask": "z"}, "--ask and --answer belong to --bot"),
        ({"bot": "x", "jobs": "many"}, "--jobs must be a number above 0, not 'many'"),
        ({"bot": "x", "only": "answers,fly"}, "there is no scenario 'fly'"),
        ({"promises": "/no/such.yaml"}, "/no/such.yaml cannot be read: No such file or directory"),
    ],
)
def test_bad_options_are_refused_before_anything_starts(arguments, says):
    """A wrong option is refused in one line, before a homeserver starts."""
    with pytest.raises(Misuse, match=says):
        scenarios(**arguments)


def test_a_bot_without_a_file_is_an_echo_bot():
    """Without --ask and --answer, the scenarios expect an echo bot."""
    bot = what_to_judge("python x.py", "", "!ping", "pong")

    assert (bot.ask, bot.answer, what_to_judge("x", "", "", "").answer) == ("!ping", "pong", "{word}")


def test_scenarios_are_chosen_by_name_in_the_order_of_the_catalogue():
    """Scenarios run in the catalogue's order, whatever the order of --only; no name means all."""
    assert [s.name for s in chosen_scenarios(["kicked", "answers"])] == ["answers", "kicked"]
    assert len(chosen_scenarios()) == len(CATALOGUE)


PASSED = Result("answers", "yes", Verdict.PASSED, 1.25)
FAILED = Result("kicked", "yes", Verdict.FAILED, 2, AssertionError("it died\nmore"))
UNKNOWN = Result("lost-response", "yes", Verdict.INCONCLUSIVE, 3, CannotTell("no answer", "no network"))
SKIPPED = Result("state-lost", NOT_PROMISED, Verdict.NOT_PROMISED)


def test_the_table_has_a_line_for_each_and_the_first_line_of_the_reason():
    """Each result is an aligned line with the first line of its reason; an unpromised one has no seconds."""
    assert table([PASSED, FAILED, UNKNOWN, SKIPPED]) == [
        "scenario       promised      verdict       seconds",
        "answers        yes           passed        1.2",
        "kicked         yes           failed        2.0      it died",
        "lost-response  yes           inconclusive  3.0      inconclusive: no answer: no network",
        "state-lost     not promised  not promised",
    ]


@pytest.mark.parametrize(
    ("results", "code"), [([PASSED, SKIPPED], 0), ([PASSED, FAILED, UNKNOWN], 1), ([PASSED, UNKNOWN], 3)]
)
def test_the_exit_code_says_passed_failed_or_inconclusive(results, code):
    """One failure makes the exit code 1, even if other scenarios are inconclusive."""
    assert exit_code(results) == code
