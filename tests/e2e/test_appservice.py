"""Application services on a real homeserver, beyond what docs/appservices.md shows and the scenarios rehearse."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from greenroom import must
from greenroom.errors import Misuse, StartFailed
from greenroom.evidence.bundle import write_bundle
from greenroom.homeserver import Appservice

GALLERY = Path(__file__).parents[1] / "gallery" / "appservice"
SERVICE = {"AS_TOKEN": "${AS_TOKEN}", "HS_TOKEN": "${HS_TOKEN}", "PORT": "${PORT}"}

pytestmark = pytest.mark.e2e


async def test_both_directions_are_in_the_bundle_and_no_token_is(person, bot, greenroom, tmp_path):
    """After a restart of everything the service still answers, and the bundle tells the story without its secrets."""
    echo = Appservice("echo", "echo_bot", users=(r"@echo_.*:greenroom\.test$$",))  # where `$$` would be one dollar
    service = await bot(
        "python good_service.py",
        appservice=echo,
        cwd=GALLERY,
        env=SERVICE,
        config={"own.yaml": "as_token: ${AS_TOKEN}\nregistration: ${REGISTRATION}\nid: ${APPSERVICE_ID}\n"},
    )
    alice = await person("alice", server=service.server)
    room = await must.chat(alice, service)
    with service.deliveries.repeat(where=lambda call: b"!echo once" in call.body, times=1) as repeated:
        await must.answer(alice, service, room, "!echo once", "once")
    await service.restart()
    await service.server.restart()
    await must.answer(alice, service, room, "!echo later", "later")

    assert repeated.hits == 1
    said = [message.body for message in alice.seen.messages(room) if message.sender == service.user_id]
    assert said == ["once", "later"]
    registration = (service.folder / "registration.yaml").read_text()
    assert yaml.safe_load(registration)["namespaces"]["users"] == [{"exclusive": True, "regex": echo.users[0]}]
    folder = write_bundle(tmp_path, greenroom.record, "for a look", None)
    http = (folder / "http.txt").read_text()
    assert "homeserver to @echo_bot:greenroom.test PUT /_matrix/app/v1/transactions/" in http
    assert "@echo_bot:greenroom.test PUT /_matrix/client/v3/rooms/" in http
    everything = "".join(file.read_text(errors="replace") for file in folder.rglob("*") if file.is_file())
    assert "id: echo" in everything
    assert echo.as_token not in everything
    assert echo.hs_token not in everything


async def test_a_service_that_does_not_come_up_is_told_with_what_is_missing(bot):
    """The error says that nothing listens, and names the port."""
    with pytest.raises(StartFailed, match=r"it does not listen on port \d+ yet"):
        await bot(["python", "-c", "import time; time.sleep(60)"], appservice=True, ready_timeout_s=3.0)


async def test_what_a_service_has_of_its_own_cannot_be_given(bot, homeserver):
    """A server that runs already could not know it."""
    with pytest.raises(Misuse, match="a server, an account and a proxy of its own"):
        await bot("python good_service.py", appservice=True, server=homeserver)


async def test_another_bot_has_no_deliveries(bot):
    """The mistake is named, with its cure."""
    ours = await bot()

    with pytest.raises(Misuse, match="start it with `appservice=True`"):
        _ = ours.deliveries
