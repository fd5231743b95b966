"""The HTTP interface: its document and what it reads, without a server. tests/e2e/test_http_interface.py serves it."""

from __future__ import annotations

import inspect

import pytest

from docs.render import OPENAPI
from greenroom.errors import (
    CapabilityMissing,
    Died,
    HarnessError,
    MatrixRefused,
    Misuse,
    NotReady,
    Unreachable,
    WrongFile,
)
from greenroom.faults import FaultProxy
from greenroom.faults.rules import Rule
from greenroom.http_interface import document_text, models
from greenroom.http_interface.fault_models import FAULTS, KINDS
from greenroom.http_interface.operations import OPERATIONS
from greenroom.http_interface.server import read_body, status_of


def test_the_document_is_up_to_date():
    """docs/openapi.json follows from the table of operations and its models."""
    assert OPENAPI.read_text() == document_text(), "run: python -m docs.render"


def test_every_fault_of_the_proxy_has_a_body():
    """A method of FaultProxy that returns a Rule is a kind, except the one that takes an action in Python."""
    made = {
        name
        for name, method in inspect.getmembers(FaultProxy, inspect.isfunction)
        if not name.startswith("_") and inspect.signature(method).return_annotation in ("Rule", Rule)
    }

    assert made - {"fault"} == set(KINDS)


@pytest.mark.parametrize(
    ("body", "text", "where", "says"),
    [
        (models.NewBot, "{", "", "the body is not JSON"),
        (models.NewBot, b'"\xff"', "", "the body is not JSON: 'utf-8' codec can't decode"),
        (models.NewBot, "[]", "", "must be a mapping with name, command"),
        (models.NewBot, '{"name": "echo"}', "command", "is missing"),
        (models.NewBot, '{"command": "x", "raedy": {}}', "raedy", "did you mean 'ready'?"),
        (models.NewBot, '{"command": "x", "ready": {"seconds": "long"}}', "ready.seconds", "valid number"),
        (models.NewBot, '{"command": "x", "ready": {"seconds": 1, "log": "a"}}', "ready", "takes one condition, not 2"),
        (models.NewBot, '{"command": "x", "name": "../x"}', "name", "should match"),
        (models.NewPerson, '{"name": "alice", "password": ""}', "password", "at least 1 character"),
        (FAULTS, '{"path": "/sync"}', "kind", "must be one of rate_limited, error"),
        (FAULTS, '{"kind": "slow"}', "kind", "must be one of rate_limited, error"),
        (FAULTS, '{"kind": "delay"}', "seconds", "is missing"),
        (FAULTS, '{"kind": "cut", "times": 0}', "times", "greater than or equal to 1"),
        (FAULTS, '{"kind": "offline", "times": 1}', "times", "there is no such field"),
    ],
)
def test_a_wrong_body_is_told_with_its_place(body, text, where, says):
    """The words are those for a wrong promises file."""
    with pytest.raises(WrongFile) as caught:
        read_body(body, text)

    assert caught.value.where == where
    assert says in caught.value.problem


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Misuse("a path"), 422),
        (CapabilityMissing("pausing", "homeserver"), 501),
        (NotReady("the bot", "not ready"), 424),
        (MatrixRefused("POST /register", 400, {"errcode": "M_USER_IN_USE"}), 409),
        (MatrixRefused("POST /register", 403, {"errcode": "M_FORBIDDEN"}), 502),
        (Unreachable("POST /register", "refused"), 503),
        (Died("homeserver", "exit code 1"), 500),
        (HarnessError("?"), 500),
    ],
)
def test_the_status_says_whose_mistake_it_is(error, status):
    """4xx: the request or the bot. 5xx: the homeserver, this machine or the harness."""
    assert status_of(error) == status


def test_every_operation_has_a_summary_and_a_path_of_its_own():
    """The document would otherwise describe one of them only."""
    assert len({(one.method, one.path) for one in OPERATIONS.values()}) == len(OPERATIONS)
    assert all(one.summary.endswith(".") and len(one.summary) < 120 for one in OPERATIONS.values())
