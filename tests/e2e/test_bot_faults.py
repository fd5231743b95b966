"""The bot behind a network that lies, stutters and drops: each message answered once all the same."""

from __future__ import annotations

from collections import Counter

import pytest

from greenroom.checks import message
from greenroom.waiting import scaled
from tests.e2e.scene import IDENTITY, ask, mapping, outcomes, set_up
from tests.e2e.test_bot_failures import cpu_s


async def test_with_a_third_of_all_requests_refused_everything_is_answered_once(person, bot, faults):
    """429 and 502 pages on 30 % of requests, start-up included; the bot waits, and uses hardly any processor for it."""
    with faults.rate_limited(300, probability=0.15), faults.html(502, probability=0.15):
        alice, greenroom = await person("alice"), await bot(through=faults, ready_timeout_s=60)
        scene = await set_up(alice, greenroom, timeout_s=60)
        await ask(alice, greenroom, scene.chat, "!new Under fire", says="Made C2", timeout_s=60)
        texts = [f"message {n}" for n in range(15)]
        for text in texts:
            await alice.send_text(scene.chat, text)
        await alice.until(message(texts[-1], sender=greenroom.user_id), timeout_s=60, watch=[greenroom])

    said = [m["content"]["body"] for m in await alice.messages(scene.chat) if m["sender"] == greenroom.user_id]
    assert [body for body in said if body in texts] == texts
    assert Counter(chat_id for _, chat_id, _ in mapping(greenroom)) == {"space": 1, "C1": 1, "C2": 1}
    assert cpu_s(greenroom.pid) < 0.5 * greenroom.running_for_s()


@pytest.mark.parametrize("path", ["/createRoom", "/send/m.room.message", "/join/", "/state/m.space.child", "/m.direct"])
async def test_a_lost_response_makes_nothing_twice(person, bot, faults, path):
    """The server did it, the bot never heard: it looks, or repeats under the same transaction id."""
    alice = await person("alice")
    greenroom = await bot(through=faults)

    with faults.drop_response(method="PUT" if path[1] in "sm" else "POST", path=path, times=1) as dropped:
        scene = await set_up(alice, greenroom)
        await dropped.until_hit()
        answer = await ask(alice, greenroom, scene.chat, "once?")

    assert answer.body == "once?"
    said = [m for room in (scene.direct, scene.chat) for m in await alice.messages(room)]
    assert Counter(m["content"]["body"][:5] for m in said if m["sender"] == greenroom.user_id) == {
        "Hello": 1,
        "once?": 1,
    }
    await alice.join_invites()
    rooms = [await alice.state(room, IDENTITY) for room in await alice.joined_rooms()]
    assert sorted(i["kind"] for i in rooms if i) == ["chat", "space"]


async def test_syncs_that_are_cut_or_truncated_lose_nothing(person, bot, faults):
    """Each kind of broken sync answer, one after the other, with a message behind it."""
    alice, greenroom = await person("alice"), await bot(through=faults)
    scene = await set_up(alice, greenroom)

    for number, fault in enumerate((faults.truncate, faults.drop_response, faults.cut, faults.html, faults.error)):
        with fault(path="/sync", times=2) as broken:
            faults.cut_open()
            sent = await alice.send_text(scene.chat, f"after fault {number}")
            await broken.until_hit(2)
            wanted = message(f"after fault {number}", sender=greenroom.user_id, after=sent)
            await alice.until(wanted, timeout_s=30, watch=[greenroom])


async def test_joined_rooms_failing_at_the_start_marks_nothing_as_left(person, bot, faults):
    """The run is degraded and says so; what is absent from the picture keeps its row as it was."""
    alice, greenroom = await person("alice"), await bot(through=faults)
    scene = await set_up(alice, greenroom)
    await greenroom.stop()
    before = mapping(greenroom)

    with faults.error(500, path="/joined_rooms"):
        await greenroom.start_again()
        (report,) = greenroom.events("matrix_reconcile_complete")
    answer = await ask(alice, greenroom, scene.chat, "all right?")

    assert report["degraded"] is True
    assert outcomes(greenroom) == {}
    assert mapping(greenroom) == before
    assert answer.body == "all right?"


async def test_start_up_and_reconciliation_write_nothing_as_seen_on_the_wire(person, bot, faults):
    """Read from the proxy's transcript, not from the bot: three reads, and only then it is live."""
    alice, greenroom = await person("alice"), await bot(through=faults)
    scene = await set_up(alice, greenroom)
    await greenroom.stop()

    await greenroom.start_again()
    await ask(alice, greenroom, scene.chat, "live?")

    since = greenroom.spawned_at_epoch_s  # what the first start wrote last may reach the transcript after its end
    wire = [(e.method, e.path.rpartition("/v3/")[2].split("/")[0]) for e in faults.transcript if e.at >= since]
    until_live = wire[: wire.index(("GET", "joined_rooms")) + 1]
    assert until_live == [("GET", "account"), ("GET", "sync"), ("GET", "joined_rooms")]


async def test_a_message_in_hand_when_the_session_dies_is_answered_after_the_next_start(person, bot, faults):
    """A refused token is no answer: the message stays unhandled, and is answered once."""
    alice, greenroom = await person("alice"), await bot(through=faults)
    scene = await set_up(alice, greenroom)

    with faults.unknown_token(path="/send/", times=1):
        sent = await alice.send_text(scene.chat, "lost?")
        code = await greenroom.wait(scaled(30))
    await greenroom.start_again()
    await alice.until(message("lost?", sender=greenroom.user_id, after=sent), watch=[greenroom])
    await ask(alice, greenroom, scene.chat, "the end")

    said = [m["content"]["body"] for m in await alice.messages(scene.chat) if m["sender"] == greenroom.user_id]
    assert code == 4
    assert said == ["lost?", "the end"]
