"""Remove a container that another process is removing too."""

from __future__ import annotations

from types import SimpleNamespace

import docker.errors
import pytest

from greenroom.homeserver.container.engine import EngineError
from greenroom.homeserver.container.labels import remove

BUSY = "removal of container abc is already in progress"


class FakeContainer:
    """Answers a removal with an engine's error, and remembers what was asked of it."""

    short_id = "abc"

    def __init__(self, error=None, *, waited=None):
        self.error, self.waited, self.asked = error, waited, []

    def remove(self, **how):
        self.asked.append("remove")
        if self.error:
            raise self.error

    def wait(self, *, condition, timeout):
        self.asked.append(f"wait until {condition}")
        if self.waited:
            raise self.waited


def api_error(status, words):
    response = SimpleNamespace(status_code=status, url="http+docker://x", reason="Conflict")
    return docker.errors.APIError("refused", response=response, explanation=words)


@pytest.mark.parametrize("waited", [None, docker.errors.NotFound("gone")], ids=["seen to go", "gone already"])
def test_a_removal_that_is_going_on_is_waited_for(waited):
    """If two workers sweep the same leftover at the same moment, both wait until it is gone."""
    container = FakeContainer(api_error(409, BUSY), waited=waited)

    remove(container)

    assert container.asked == ["remove", "wait until removed"]


def test_a_container_that_is_gone_counts_as_removed():
    """It is no error if another process has removed the container first."""
    container = FakeContainer(docker.errors.NotFound("no such container"))

    remove(container)

    assert container.asked == ["remove"]


@pytest.mark.parametrize("error", [api_error(409, "container is in use"), api_error(500, "disk is full")])
def test_any_other_refusal_is_an_error(error):
    """A container that the engine refuses to remove is not reported as removed."""
    with pytest.raises(EngineError, match="removing container abc"):
        remove(FakeContainer(error))
