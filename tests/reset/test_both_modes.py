"""Both modes in one run: the server first, the local files last and only if the server's part is complete."""

from __future__ import annotations

import math

from greenroom_reset.summary import manual_steps, summary_lines
from tests.reset.conftest import BOT, FORBIDDEN, SERVER, add_room, room_of, tree


async def test_both_modes_do_the_server_first_and_the_files_last(online, server, bot_state, shown):
    """With both modes the local files are still there while the rooms are left, and are deleted afterwards."""
    server.devices["saved"] = "D"
    add_room(server, "!a:hs")
    seen: list[bool] = []
    server.when("POST /rooms/!a:hs/leave", lambda: seen.append((bot_state / "bot.db").exists()))

    summary = await shown.reset(online, "local-only", SERVER, yes=True)

    assert summary.exit_code == 0
    assert seen == [True]
    assert tree(bot_state) == {}
    assert server.rooms == {}


async def test_both_modes_keep_the_files_when_the_server_is_not_done(online, server, bot_state, shown):
    """With both modes the local files are kept if a room failed, because they hold the session."""
    server.devices["saved"] = "D"
    add_room(server, "!a:hs")
    server.fail("POST /rooms/!a:hs/leave", 403, FORBIDDEN, times=math.inf)
    before = tree(bot_state)

    summary = await shown.reset(online, "local-only", SERVER, yes=True)

    assert summary.exit_code == 1
    assert {step.state for step in summary.files} == {"kept"}
    assert tree(bot_state) == before
    assert not any("old device" in step for step in manual_steps(summary))


async def test_files_that_changed_meanwhile_are_kept_and_the_servers_part_is_told(online, server, bot_state, shown):
    """If the local files change while the rooms are left, the files are kept and the summary still tells both parts."""
    server.devices["saved"] = "D"
    add_room(server, "!a:hs")
    server.when("POST /rooms/!a:hs/leave", lambda: (bot_state / "store" / f"{BOT}_D.db-wal").touch())

    summary = await shown.reset(online, "local-only", SERVER, yes=True)

    assert room_of(summary, "!a:hs").state == "done"
    assert {step.state for step in summary.files} == {"kept"}
    assert "have changed since the plan was made" in "\n".join(summary_lines(summary))
    assert summary.exit_code == 1


async def test_a_file_that_has_gone_meanwhile_is_not_called_kept(online, server, bot_state, shown):
    """If the plan is given up, only what is still there is kept; a file that has gone is absent."""
    server.devices["saved"] = "D"
    add_room(server, "!a:hs")
    server.when("POST /rooms/!a:hs/leave", lambda: (bot_state / "bot.db").unlink())

    summary = await shown.reset(online, "local-only", SERVER, yes=True)

    database, *others = summary.files
    assert database.outcome() == f"already absent: database {bot_state}/bot.db (gone since the plan was made)"
    assert {step.state for step in others} == {"kept"}
    assert summary.exit_code == 1
