"""What end-to-end tests of containers stand on: an engine with an image, and the proof that nothing stays behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from greenroom.errors import Unavailable
from greenroom.homeserver.container.engine import Engine, connect
from greenroom.homeserver.container.image import present_image
from greenroom.homeserver.container.labels import CREATOR, FOLDER
from greenroom.homeserver.kind import HomeserverKind
from greenroom.homeserver.synapse import SYNAPSE
from greenroom.session import is_required


def require_engine(kind: HomeserverKind = SYNAPSE) -> tuple[Engine, str]:
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


def _lacking(lacking: Unavailable, kind: HomeserverKind = SYNAPSE) -> Any:
    if is_required("container") and kind is SYNAPSE:
        raise lacking
    pytest.skip(str(lacking))


def inventory(engine: Engine, folder: Path) -> dict[str, set[str]]:
    """List what the engine has, other than images: containers of this test run and of what it started, by where their
    data belongs (under `folder`) or who made them; stacks, networks and volumes of anybody.
    """
    client = engine.client
    ours = [each.id for each in client.containers.list(all=True, ignore_removed=True) if _is_ours(each.labels, folder)]
    return {
        "containers": set(ours),
        "networks": {each.name for each in client.networks.list()},
        "volumes": {each.name for each in client.volumes.list()},
    }


def _is_ours(labels: dict[str, str], folder: Path) -> bool:
    """Tell such a container from those of other workers, and of anything else on the machine."""
    if FOLDER in labels and Path(labels[FOLDER]).is_relative_to(folder):
        return True
    maker = labels.get(CREATOR, "").partition(" ")[0]
    return maker == str(os.getpid()) or labels.get("com.docker.compose.project", "").startswith("greenroom-")


@contextmanager
def nothing_stays(engine: Engine, folder: Path) -> Iterator[None]:
    """Fail if the engine has something of ours afterwards that it had not before.

    Whoever uses this is named in TOGETHER of tests/conftest.py, because others of them make networks and stacks.
    """
    before = inventory(engine, folder)
    yield
    after = inventory(engine, folder)
    stayed = {what: sorted(names - before[what]) for what, names in after.items() if names - before[what]}
    assert not stayed, f"stayed behind: {stayed}"
