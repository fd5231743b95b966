"""A script of the stage as a test: which lines it becomes, what it expects, and that it always compiles."""

from __future__ import annotations

from dataclasses import replace

import pytest

from greenroom.stage.script import (
    AnswerSeen,
    BotMoved,
    BotStep,
    FaultStep,
    HomeserverStep,
    LogInStep,
    PersonStep,
    Quoted,
    Scene,
    Script,
    Step,
)
from greenroom.stage.writing.scene import scene_of
from greenroom.stage.writing.stable import Stable, stable
from greenroom.stage.written import as_test

BOT, ALICE, ERIN = "@bot:greenroom.test", "@alice:greenroom.test", "@erin:greenroom.test"
ROOM, OTHER = "!room", "!other"
HERE = LogInStep("alice")


def say(text: str, made: str, room: str = ROOM, who: str = "alice") -> PersonStep:
    return PersonStep(who, "say", room, {"text": text}, made=made)


def answer(text: str, event_id: str, question: str = "", asked: str = "") -> AnswerSeen:
    return AnswerSeen("alice", ROOM, event_id, text, question, asked)


def written(*steps: Step, scene: Scene | None = None) -> list[str]:
    """Return the lines after the start of the bot, of a test that compiles."""
    script = Script(lambda: scene or Scene())
    script.seeded[ROOM] = "c1"
    script.steps += steps
    text = as_test(script)
    compile(text, "test_stage.py", "exec")
    lines = [line.strip() for line in text.splitlines()]
    begin = next(number for number, line in enumerate(lines) if line.startswith("my_bot ="))
    return [line for line in lines[begin:] if line]


def test_a_question_and_its_answer_are_one_line():
    """In a quiet moment `must.answer` says it, and also finds an answer that comes twice."""
    lines = written(HERE, say("hello", "$1"), answer("hello", "$2", "$1", "hello"))

    assert lines == [
        'my_bot = await bot(account=server.seeded.account("bot"))',
        'alice = await person(server.seeded.account("alice"))',
        'c1 = server.seeded.room("c1")',
        'await must.answer(alice, my_bot, c1, "hello", "hello")',
        "must.be_running(my_bot)",
    ]


def test_an_answer_after_a_crash_is_waited_for_where_it_came():
    """The question is kept in a variable, and the answer may take longer than in a quiet moment."""
    lines = written(HERE, BotStep("kill"), say("hello", "$1"), BotStep("start"), answer("hello", "$2", "$1", "hello"))

    assert lines[2:-1] == [
        "await my_bot.kill()",
        'c1 = server.seeded.room("c1")',
        'asked = await alice.send_text(c1, "hello")',
        "await my_bot.start_again()",
        'await must.say(alice, my_bot, c1, "hello", after=asked, timeout_s=60)',
    ]


def test_an_answer_while_a_fault_is_in_force_is_no_quiet_one():
    """A lost reply may lead to a second one, which `must.answer` would not allow."""
    lines = written(HERE, FaultStep("lost", "drop_response"), say("hello", "$1"), answer("hello", "$2", "$1", "hello"))

    assert lines[-2] == 'await must.say(alice, my_bot, c1, "hello", after=asked, timeout_s=60)'


def test_a_bot_that_is_down_at_the_end_need_not_run():
    """The last line is there only where the bot should run."""
    assert written(HERE, say("hello", "$1"), BotStep("stop"))[-1] == "await my_bot.stop()"


def test_a_start_of_a_bot_that_nobody_stopped_says_that_it_ended_by_itself():
    """Otherwise the test would start it twice."""
    assert written(BotStep("start"))[1:3] == ["await must.end_by_itself(my_bot)", "await my_bot.start_again()"]


def test_what_was_seen_after_the_end_of_the_homeserver_is_expected_before_it():
    """A person saw it late; a test could not see it while the homeserver is away."""
    lines = written(
        HERE,
        say("hello", "$1"),
        HomeserverStep("kill"),
        answer("hello", "$2", "$1", "hello"),
        HomeserverStep("start"),
    )

    assert lines[3:6] == [
        'await must.answer(alice, my_bot, c1, "hello", "hello")',
        "await server.kill()",
        "await server.start_again()",
    ]


def test_a_fault_has_a_variable_and_must_hit_again_what_it_hit():
    """A test that lifts a fault at once would prove nothing."""
    values = {"seconds": 1.5, "user": BOT, "path": "/send/"}
    lines = written(FaultStep("slow answers", "delay", values), FaultStep("slow answers", "delay", on=False, hits=3))

    assert lines == [
        'my_bot = await bot(account=server.seeded.account("bot"), through=faults)',
        'slow_answers = faults.delay(seconds=1.5, user=my_bot, path="/send/")',
        "await slow_answers.until_hit(watch=[my_bot])",
        "slow_answers.end()",
        "must.be_running(my_bot)",
    ]


def test_a_chat_that_the_bot_joins_is_one_line_and_one_that_it_does_not_join_is_not_awaited():
    """`must.chat` waits for the join."""
    made = PersonStep("alice", "create direct", values={"user": BOT, "encrypted": True}, made=OTHER)

    joined = written(HERE, made, BotMoved("alice", OTHER, "join"))
    ignored = written(HERE, made)

    assert "chat = await must.chat(alice, my_bot, encrypted=True)" in joined
    assert "chat = await alice.create_direct(my_bot.user_id, encrypted=True)" in ignored


def test_an_invite_is_found_by_who_sent_it_and_by_its_name():
    """A bot may send several at once, in any order."""
    accepted = PersonStep("alice", "join", OTHER, {"by": BOT, "name": "Chat 1"})

    lines = written(HERE, accepted, say("hi", "$1", OTHER))

    assert lines[2:5] == [
        'chat_1 = await must.see(alice, checks.invited(my_bot.user_id, name="Chat 1"), watch=[my_bot])',
        "await alice.join(chat_1)",
        'await alice.send_text(chat_1, "hi")',
    ]


def test_what_a_step_was_about_is_found_again():
    """By the variable of the step that made it, or by its text where it was there before."""
    answered = [HERE, say("hello", "$1"), answer("hello", "$2", "$1", "hello")]
    react = PersonStep("alice", "react", ROOM, {"key": "👍"}, Quoted("$2", BOT, "hello"), "$3")
    redact = PersonStep("alice", "redact", ROOM, {}, Quoted("$old", BOT, "Good morning"), "$4")

    lines = written(*answered, react, redact)

    assert lines[3:7] == [
        'answer = await must.answer(alice, my_bot, c1, "hello", "hello")',
        'await alice.react(c1, answer.event_id, "👍")',
        'message = await must.see(alice, checks.message("Good morning", sender=my_bot.user_id, room=c1))',
        "await alice.redact(c1, message.event_id)",
    ]


def test_a_step_in_a_room_that_no_test_can_make_is_left_out_aloud():
    """It was there before the stage, and is in no blueprint."""
    lines = written(HERE, say("hello", "$1", OTHER))

    assert [line for line in lines if line.startswith('# left out: "alice" did “say”')]
    assert not [line for line in lines if "send_text" in line]


def test_an_account_made_on_the_stage_has_another_id_in_a_test():
    """So its id stands nowhere, and its name is not expected in an answer."""
    lines = written(
        HERE,
        LogInStep("erin", new=True),
        say(f"!allow {ERIN}", "$1"),
        answer("welcome in, erin!", "$2", "$1"),
        PersonStep("erin", "create room", values={"name": "Tea", "invite": [ALICE]}, made=OTHER),
    )

    assert 'erin = await person("erin", server=server)' in lines
    assert 'await must.answer(alice, my_bot, c1, "!allow " + erin.user_id + "", containing="welcome in,")' in lines
    assert 'tea = await erin.create_room(name="Tea", invite=[alice.user_id])' in lines


def test_another_bot_and_blueprint_are_set_up_as_they_were():
    """The command, its settings and the variables of the blueprint."""
    scene = Scene("large", {"rooms": 5}, ("alice",), command="python my_bot.py", environment={"MATRIX_LOUD": "1"})
    script = Script(lambda: scene)

    text = as_test(script)

    compile(text, "test_stage.py", "exec")
    assert '@pytest.mark.blueprint("large", rooms=5)' in text
    assert "server = await fresh_homeserver()" in text
    assert 'my_bot = await bot("python my_bot.py", server=server, env={"MATRIX_LOUD": "1"})' in text


@pytest.mark.parametrize("name", ['"""', "class", "server", "1", "é\n", "🙂", "a" * 80, "\\", "\u202e"])
def test_whatever_something_is_called_the_test_compiles(name):
    """Names of people, rooms and faults, texts and the command come from others."""
    scene = Scene(accounts=(name, "bot"), command=name, made_by=name)

    written(
        LogInStep(name),
        PersonStep(name, "create room", values={"name": name}, made=OTHER),
        say(name, "$1", OTHER, name),
        FaultStep(name, "cut"),
        PersonStep(name, "rename", OTHER, {"text": name}),
        scene=scene,
    )


def test_an_edited_answer_stands_where_it_was_edited():
    """What it says in the end is what a test expects."""
    script = Script()
    script.hear(answer("thinking…", "$2", "$1"))
    script.add(BotStep("restart"))
    script.hear(answer("forty-two", "$2", "$1"))

    assert script.steps == [BotStep("restart"), answer("forty-two", "$2", "$1")]


@pytest.mark.parametrize(
    ("text", "asked", "expected"),
    [
        ("hello", "", Stable(whole="hello")),
        ("it is 10:04:12 now", "", Stable(part="it is")),
        ("see you at 10:30", "at 10:30", Stable(whole="see you at 10:30")),
        ("up for 12 s", "", Stable(part="up for")),
        ("Made C2, see https://matrix.to/#/!abc?via=x here", "", Stable(part="Made C2, see")),
        ("$abcdefghijklmnopqrstuvwxyz", "", Stable()),
        ("build 0123456789abcdef is\nnot so well", "", Stable(part="not so well")),
        ("either/or", "", Stable(whole="either/or")),
        ("C1 has 3 members", "", Stable(whole="C1 has 3 members")),
    ],
)
def test_only_what_stays_is_expected_of_a_text(text, asked, expected):
    """Ids, links, times and durations differ in the next run, unless the question named them."""
    assert stable(text, asked=asked) == expected


def test_the_scene_is_read_from_what_dev_keeps_without_secrets():
    """A test is kept in a repository."""
    state = {
        "homeserver": {"server_name": "greenroom.test"},
        "bot": {"user_id": BOT, "command": "python my_bot.py"},
        "people": [],
        "seed": "large --set rooms=3",
    }
    environment = {"MATRIX_PASSWORD": "x", "MATRIX_RESPONDER": "a:b", "MATRIX_PICKLE_KEY": "y"}

    scene = scene_of(state, environment, our_command="python -m greenroom_bot")

    assert (scene.blueprint, scene.variables, scene.accounts) == ("large", {"rooms": 3}, ("alice", "bot"))
    assert (scene.command, scene.environment) == ("python my_bot.py", {"MATRIX_RESPONDER": "a:b"})


def test_the_end_of_a_fault_stands_before_the_step_that_waited_for_it():
    """A restart under a fault is over after the fault; an answer that was seen meanwhile comes after the restart."""
    script = Script()
    put, lifted = (FaultStep("rate_limited", "rate_limited", {}, on=on) for on in (True, False))
    hit = replace(lifted, hits=3)
    restart, failed = BotStep("restart"), BotStep("kill")
    heard = AnswerSeen("alice", "!r", "$1", "hello", "", "")

    script.add(put)
    script.begin(restart)
    script.hear(heard)
    script.add(hit)
    script.end(failed=False)
    script.add(hit)
    script.begin(failed)
    script.end(failed=True)

    assert script.steps == [put, lifted, restart, heard, hit]
