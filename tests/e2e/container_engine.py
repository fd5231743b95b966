"""What end-to-end tests of containers stand on: an engine with an image, and the proof that nothing stays behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from harness.errors import Unavailable
from harness.homeserver.container_engine import Engine, connect
from harness.homeserver.container_image import present_image
from harness.homeserver.container_labels import OWNER
from harness.homeserver.interface import Kind
from harness.session import is_required


def require_engine(kind: Kind = Kind.SYNAPSE) -> tuple[Engine, str]:
    """Give an engine and its image of a kind; skip, or fail if GREENROOM_REQUIRE says so, where one is missing."""
    try:
        engine = connect()
    except Unavailable as lacking:
        return _lacking(lacking)
    try:
        return engine, present_image(engine, kind)
    except Unavailable as lacking:
        engine.close()
        return _lacking(lacking, kind)


def _lacking(lacking: Unavailable, kind: Kind = Kind.SYNAPSE) -> Any:
    if is_required("container") and kind is Kind.SYNAPSE:
        raise lacking
    pytest.skip(str(lacking))


def inventory(engine: Engine) -> dict[str, set[str]]:
    """List what of ours the engine has, other than images: our containers, and all networks and volumes."""
    client = engine.client
    ours = [each.id for each in client.containers.list(all=True, filters={"label": OWNER}) if not _of_others(each)]
    return {
        "containers": set(ours),
        "networks": {each.name for each in client.networks.list()},
        "volumes": {each.name for each in client.volumes.list()},
    }


def _of_others(container: Any) -> bool:
    """Tell a container of another test run, or of this one's shared homeserver, from one of the test at hand."""
    run_id = container.labels.get("dev.greenroom.run", "")
    return run_id.startswith("run-") and run_id.split("-")[1] != str(os.getpid())


@contextmanager
def nothing_stays(engine: Engine) -> Iterator[None]:
    """Fail if the engine has something of ours afterwards that it had not before."""
    before = inventory(engine)
    yield
    after = inventory(engine)
    assert {what: names - before[what] for what, names in after.items()} == {what: set() for what in after}
