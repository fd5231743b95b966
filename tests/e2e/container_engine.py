"""What end-to-end tests of containers need: an engine with an image, and a check that nothing stays behind."""

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
from greenroom.homeserver.container.labels import CREATOR, FOLDER, RUN
from greenroom.homeserver.kind import HomeserverKind
from greenroom.homeserver.synapse import SYNAPSE
from greenroom.session import is_required


def require_engine(kind: HomeserverKind = SYNAPSE) -> tuple[Engine, str]:
    """Return an engine and its image of a homeserver kind.

    If one is missing, skip the test, or fail it where GREENROOM_REQUIRE names containers.
    """
    try:
        engine = connect()
    except Unavailable as error:
        return _skip_or_fail(error)
    try:
        return engine, present_image(engine, kind)
    except Unavailable as error:
        engine.close()
        return _skip_or_fail(error, kind)


def _skip_or_fail(error: Unavailable, kind: HomeserverKind = SYNAPSE) -> Any:
    if is_required("container") and kind is SYNAPSE:
        raise error
    pytest.skip(str(error))


def inventory(engine: Engine, folder: Path) -> dict[str, set[str]]:
    """Return what the engine has, without images: our containers, and everybody's networks and volumes.

    A container is ours if its data belongs under `folder`, if this process made it, or if it belongs to a stack.
    """
    client = engine.client
    ours = [each.id for each in client.containers.list(all=True, ignore_removed=True) if _is_ours(each.labels, folder)]
    return {
        "containers": set(ours),
        "networks": {each.name for each in client.networks.list()},
        "volumes": {each.name for each in client.volumes.list()},
    }


def _is_ours(labels: dict[str, str], folder: Path) -> bool:
    """Return whether a container is ours and not that of another worker or of something else on the machine."""
    if FOLDER in labels and Path(labels[FOLDER]).is_relative_to(folder):
        return True
    if "-warm-" in labels.get(RUN, ""):  # all of this run shares it
        return False
    maker = labels.get(CREATOR, "").partition(" ")[0]
    return maker == str(os.getpid()) or labels.get("com.docker.compose.project", "").startswith("greenroom-")


@contextmanager
def nothing_stays(engine: Engine, folder: Path) -> Iterator[None]:
    """Fail if the engine has something of ours afterwards that it did not have before.

    Tests that make networks and stacks must not run at the same time: TOGETHER in tests/conftest.py names their files.
    """
    before = inventory(engine, folder)
    yield
    after = inventory(engine, folder)
    stayed = {what: sorted(names - before[what]) for what, names in after.items() if names - before[what]}
    assert not stayed, f"stayed behind: {stayed}"
