"""The bot behind a network that drops, delays and garbles: each message is answered exactly once all the same."""

from __future__ import annotations

from collections import Counter

import pytest

from greenroom import must
from tests.e2e.bot_runs import cpu_s
from tests.e2e.scene import IDENTITY, mapping, outcomes, said, set_up, start_report


async def test_with_a_third_of_all_requests_refused_everything_is_answered_once(person, bot, faults):
    """A bot for which 30 % of all requests fail answers everything once, in order, and hardly uses the processor."""
    texts = [f"message {n}" for n in range(15)]

    with faults.rate_limited(300, probability=0.15) as limited, faults.html(502, probability=0.15) as broken:
        alice, greenroom = await person("alice"), await bot(through=faults, ready_timeout_s=60)
        scene = await set_up(alice, greenroom, timeout_s=60)
        await must.answer(alice, greenroom, scene.chat, "!new Under fire", containing="Made C2", timeout_s=60)
        for text in texts:
            await alice.send_text(scene.chat, text)
        await must.say(alice, greenroom, scene.chat, texts[-1], timeout_s=60)

    assert limited.hits > 0
    assert broken.hits > 0
    assert [body for body in await said(alice, greenroom, scene.chat) if body in texts] == texts
    assert Counter(chat_id for _, chat_id, _ in mapping(greenroom)) == {"space": 1, "C1": 1, "C2": 1}
    assert cpu_s(greenroom.pid) < 0.5 * greenroom.running_for_s()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/createRoom"),
        ("PUT", "/send/m.room.message"),
        ("POST", "/join/"),
        ("PUT", "/state/m.space.child"),
        ("PUT", "/m.direct"),
    ],
)
async def test_a_lost_response_makes_nothing_twice(person, bot, faults, method, path):
    """When the homeserver's response to a write is lost, the write is not done twice."""
    alice, greenroom = await person("alice"), await bot(through=faults)

    with faults.drop_response(method=method, path=path, times=1) as dropped:
        scene = await set_up(alice, greenroom)
        await dropped.until_hit()
        await must.answer(alice, greenroom, scene.chat, "once?", "once?")
    await alice.join_invites()
    found = [await alice.state(room, IDENTITY) for room in await alice.joined_rooms()]

    (greeting,) = await said(alice, greenroom, scene.direct)
    assert greeting.startswith("Hello!")
    assert await said(alice, greenroom, scene.chat) == ["once?"]
    assert sorted(content["kind"] for content in found if content) == ["chat", "space"]


async def test_syncs_that_are_cut_or_truncated_lose_nothing(person, bot, faults):
    """A message behind broken sync answers, whatever breaks them, is answered once the syncs work again."""
    alice, greenroom = await person("alice"), await bot(through=faults)
    scene = await set_up(alice, greenroom)
    texts = []

    for fault in (faults.truncate, faults.drop_response, faults.cut, faults.html, faults.error):
        texts.append(f"after {fault.__name__}")
        with fault(path="/sync", times=2) as broken:
            faults.cut_open()
            sent = await alice.send_text(scene.chat, texts[-1])
            await broken.until_hit(2)
            await must.say(alice, greenroom, scene.chat, texts[-1], after=sent, timeout_s=30)

    assert await said(alice, greenroom, scene.chat) == texts


async def test_joined_rooms_failing_at_the_start_marks_nothing_as_left(person, bot, faults):
    """A start for which `joined_rooms` fails is reported as degraded and marks no room as left."""
    alice, greenroom = await person("alice"), await bot(through=faults)
    scene = await set_up(alice, greenroom)
    await greenroom.stop()
    before = mapping(greenroom)

    with faults.error(500, path="/joined_rooms"):
        await greenroom.start_again()
    answer = await must.answer(alice, greenroom, scene.chat, "all right?")

    assert start_report(greenroom)["degraded"] is True
    assert outcomes(greenroom) == {}
    assert mapping(greenroom) == before
    assert answer.body == "all right?"


async def test_start_up_and_reconciliation_write_nothing_as_seen_on_the_wire(person, bot, faults):
    """A restarted bot sends four reads, and then its live sync: the proxy sees no write before that."""
    alice, greenroom = await person("alice"), await bot(through=faults)
    scene = await set_up(alice, greenroom)
    await greenroom.stop()

    await greenroom.start_again()
    await must.answer(alice, greenroom, scene.chat, "live?", "live?")

    since = greenroom.spawned_at_epoch_s  # what the first start wrote last may reach the transcript after its end
    wire = [(e.method, e.path.rpartition("/v3/")[2].split("/")[0]) for e in faults.transcript if e.at >= since]
    assert wire[:3] == [("GET", "account"), ("GET", "sync"), ("GET", "sync")]
    first_live = next(n for n, request in enumerate(wire) if n > 2 and request == ("GET", "sync"))
    assert ("GET", "joined_rooms") in wire[3:first_live]
    assert {method for method, _ in wire[:first_live]} == {"GET"}


async def test_a_message_in_hand_when_the_session_dies_is_answered_after_the_next_start(person, bot, faults):
    """A message whose answer was refused because the session had ended is answered once, after the next start."""
    alice, greenroom = await person("alice"), await bot(through=faults)
    scene = await set_up(alice, greenroom)

    with faults.unknown_token(path="/send/", times=1):
        sent = await alice.send_text(scene.chat, "lost?")
        await must.end_by_itself(greenroom, code=4, timeout_s=30)
    await greenroom.start_again()
    await must.say(alice, greenroom, scene.chat, "lost?", after=sent)
    await must.answer(alice, greenroom, scene.chat, "the end")

    assert await said(alice, greenroom, scene.chat) == ["lost?", "the end"]
