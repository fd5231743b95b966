"""A homeserver, people on it, and a bot process: the parts every other end-to-end test stands on."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from greenroom.checks import invited, joined, message
from greenroom.errors import Died, NotMet, PortTaken, StartFailed, Unavailable
from greenroom.homeserver.settings import free_port
from greenroom.homeserver.synapse_process import START_TIMEOUT_S, SynapseProcess


@contextmanager
def listener() -> Iterator[int]:
    """Somebody else's program, listening on a port."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


async def test_people_talk_over_a_real_homeserver(person):
    """A person sees what another one says, through the server."""
    alice = await person("alice")
    carol = await person("carol")

    room_id = await alice.create_direct(carol.user_id)
    await carol.until(invited(by=alice.user_id))
    await carol.join_invites()
    sent = await alice.send_text(room_id, "hello")

    heard = await carol.until(message("hello", sender=alice.user_id, room=room_id))
    assert heard.event_id == sent
    assert await alice.members(room_id) == {alice.user_id, carol.user_id}


async def test_a_wait_that_fails_says_what_was_seen_instead(person):
    """NotMet names the person, the condition and the reasons."""
    alice = await person("alice")
    room_id = await alice.create_room(name="quiet")
    await alice.send_text(room_id, "something else")

    with pytest.raises(NotMet) as caught:
        await alice.until(message("pong", room=room_id), timeout_s=0.3)

    assert "to see somebody to say 'pong'" in str(caught.value)
    assert "something else" in str(caught.value)


async def test_a_killed_homeserver_starts_again_at_the_same_url_with_its_data(fresh_homeserver, person):
    """Accounts, sessions and rooms survive a crash; the URL does not change."""
    server = await fresh_homeserver()
    alice = await person("alice", server=server)
    room_id = await alice.create_room(name="kept")
    url = server.url

    await server.kill()
    await server.start_again()

    assert server.url == url
    assert await alice.joined_rooms() == {room_id}


async def test_a_wait_ends_at_once_when_the_homeserver_dies(fresh_homeserver, person):
    """A dead server is reported by its death and its log, not by the timeout of the wait."""
    server = await fresh_homeserver()
    alice = await person("alice", server=server)
    await alice.sync()
    await server.kill()

    began = time.monotonic()
    with pytest.raises(Died, match=r"homeserver died: .*SIGKILL"):
        await alice.until(message("never"), timeout_s=30)

    assert time.monotonic() - began < 3


async def test_a_configuration_that_synapse_refuses_is_reported_at_once_with_its_words(fresh_homeserver):
    """StartFailed comes with Synapse's own complaint and does not wait for the start timeout."""
    began = time.monotonic()

    with pytest.raises(StartFailed, match="Error in configuration"):
        await fresh_homeserver(extra={"database": {"name": "no such engine"}})

    assert time.monotonic() - began < START_TIMEOUT_S / 2  # on a slow machine Synapse takes 15 s to read its settings


async def test_a_taken_port_is_one_clear_error(fresh_homeserver):
    """PortTaken names the port."""
    with listener() as port, pytest.raises(PortTaken, match=f"port {port} on 127.0.0.1 is taken"):
        await fresh_homeserver(port=port)


async def test_a_port_of_our_choice_that_is_taken_meanwhile_means_another(tmp_path):
    """Synapse itself binds it; nobody else's program is in the way of a start."""
    try:
        SynapseProcess.check_installed()
    except Unavailable as lacking:
        pytest.skip(str(lacking))
    free = free_port()
    with listener() as taken:
        ports = iter([taken, free])
        async with SynapseProcess(tmp_path / "homeserver", choose_port=lambda: next(ports)).running() as server:
            assert server.url == f"http://127.0.0.1:{free}"
            await server.kill()
            await server.start_again()
            assert server.url == f"http://127.0.0.1:{free}"


async def test_encrypted_rooms_work_between_people_with_a_store(person):
    """A message sent encrypted arrives readable, and the server saw only ciphertext."""
    alice = await person("alice", encrypted=True)
    carol = await person("carol", encrypted=True)
    room_id = await alice.create_direct(carol.user_id, encrypted=True)
    await carol.until(invited(by=alice.user_id))
    await carol.join_invites()
    await alice.until(joined(carol.user_id, room_id))

    await alice.send_text(room_id, "a secret")

    heard = await carol.until(message("a secret", room=room_id))
    assert heard.encrypted
    assert (await carol.messages(room_id)) == []
