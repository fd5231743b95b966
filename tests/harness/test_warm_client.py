"""Where a warm parent cannot be had, the reason is said and the start is plain."""

from __future__ import annotations

import importlib.metadata
import socket

import pytest

from greenroom.homeserver.synapse_config import VERSION
from greenroom.homeserver.warm import client
from greenroom.homeserver.warm.client import Connection, NotWarm, check_possible, connect, end_idle_parent
from greenroom.processes.procfs import ProcessIdentity, myself
from greenroom.processes.runs import Head, own_head


@pytest.fixture(autouse=True)
def tested_version(monkeypatch) -> None:
    """Synapse, installed in the version that warm starts are tested with."""
    monkeypatch.setattr(importlib.metadata, "version", lambda name: VERSION)


def test_it_can_be_switched_off():
    """GREENROOM_WARM=0 is the reason then."""
    with pytest.raises(NotWarm, match="GREENROOM_WARM=0"):
        check_possible({"GREENROOM_WARM": "0"})
    check_possible({})


def test_another_version_of_synapse_is_started_plainly(monkeypatch):
    """A fork relies on Synapse's insides; the reason names both versions."""
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.200.0")

    with pytest.raises(NotWarm, match=rf"tested with Synapse {VERSION}, and this is 1\.200\.0"):
        check_possible({})


def test_another_system_is_started_plainly(monkeypatch):
    """Outside Linux nothing ties the lives of parent and homeserver together."""
    monkeypatch.setattr(client.sys, "platform", "darwin")

    with pytest.raises(NotWarm, match="need Linux"):
        check_possible({})


async def test_without_a_head_there_is_no_parent():
    """Nobody would know when it may end."""
    with pytest.raises(NotWarm, match="no run notes"):
        await connect(None)


async def test_a_head_that_has_ended_gets_no_parent(tmp_path, monkeypatch):
    """The parent would live for ever: its lifeline would be another process's."""
    monkeypatch.setenv("GREENROOM_RUNS_DIR", str(tmp_path))

    with pytest.raises(NotWarm, match="cannot be started"):
        await connect(Head(ProcessIdentity(myself().pid, "00000000/1"), tmp_path))


async def test_a_parent_that_cannot_import_synapse_is_reported_with_its_words(tmp_path, monkeypatch):
    """The reason has the last line of its log."""
    program = tmp_path / "parent.py"
    program.write_text("import os\nif os.fork():\n    os._exit(0)\nimport no_such_module\n")
    monkeypatch.setattr(client, "PARENT", program)
    monkeypatch.setenv("GREENROOM_RUNS_DIR", str(tmp_path / "runs"))

    with pytest.raises(NotWarm, match="No module named 'no_such_module'"):
        await connect(own_head())


def test_two_answers_that_arrive_at_once_are_two():
    """A homeserver may end before anybody has read that it has begun; its own exit code is told."""
    ours, theirs = socket.socketpair()
    theirs.sendall(b'{"pid": 1}\n{"status": 7}\n')
    theirs.close()
    connection = Connection(ours)

    assert [connection.next_answer(), connection.next_answer()] == [{"pid": 1}, {"status": 7}]
    with pytest.raises(EOFError):
        connection.next_answer()
    connection.close()


def test_ending_a_parent_that_never_was_is_nothing(tmp_path, monkeypatch):
    """A run without homeservers makes neither a process nor a folder."""
    monkeypatch.setenv("GREENROOM_RUNS_DIR", str(tmp_path))

    end_idle_parent(own_head())

    assert list(tmp_path.iterdir()) == []
