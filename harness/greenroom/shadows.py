"""A project's own fixture under the name of one of Greenroom's.

Overriding a fixture is good pytest, and stays silent. If a test mixes the two up, it fails with a TypeError or an
AttributeError that names neither fixture. Its report then says which fixture is whose.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pytest

PLUGIN = "greenroom.plugin"
HOMESERVER = "homeserver"
NAMES = ("bot", "person", "faults", HOMESERVER)  # the fixtures that a test asks for by a name of everyday use

Fixtures: TypeAlias = Mapping[str, Sequence["pytest.FixtureDef[Any]"]]


def notes(item: pytest.Item, error: BaseException | None) -> list[str]:
    """Return a sentence for each shadowed fixture that can explain why a test failed with `error`."""
    fixtures: Fixtures = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    if not isinstance(error, (TypeError, AttributeError)) or not _expects_ours(item, fixtures):
        return []
    if _is_homeserver(getattr(item, "funcargs", {}).get(HOMESERVER)):
        fixtures = {name: chain for name, chain in fixtures.items() if name != HOMESERVER}
    return [sentence(fixture, item.config.rootpath) for fixture in _shadows(fixtures)]


def sentence(fixture: pytest.FixtureDef[Any], root: Path, returned: object = None) -> str:
    """Return in words whose fixture this is, what it `returned` if that is known, and how to get Greenroom's."""
    name, what = fixture.argname, f" and returned a {type(returned).__name__}" if returned is not None else ""
    if name == HOMESERVER:
        cure = "Try: rename it, or let it return a running homeserver (docs/testing-your-bot.md)"
    else:
        cure = f"Greenroom's own is also there as `greenroom_{name}`"
    return f"the fixture `{name}` of {_place(fixture, root)} shadows Greenroom's{what}. {cure}"


def refuse_homeserver(request: pytest.FixtureRequest, homeserver: object) -> None:
    """Fail a test whose `homeserver` is none: Greenroom's other fixtures would trip over it later."""
    if _is_homeserver(homeserver):
        return
    fixture = request._fixturemanager.getfixturedefs(HOMESERVER, request.node)
    assert fixture is not None
    pytest.fail(sentence(fixture[-1], request.config.rootpath, homeserver), pytrace=False)


def _is_homeserver(value: object) -> bool:
    from greenroom.homeserver.interface import RunningHomeserver  # not needed in a project that only has us installed

    return isinstance(value, RunningHomeserver)


def _shadows(fixtures: Fixtures) -> Iterator[pytest.FixtureDef[Any]]:
    """Find the fixtures that replace one of Greenroom's and are not built on Greenroom's either."""
    for name in NAMES:
        chain = fixtures.get(name, ())
        if not any(_is_ours(fixture) for fixture in chain) or _is_ours(chain[-1]):
            continue
        built_on = [fixtures[argument][-1] for argument in chain[-1].argnames if fixtures.get(argument)]
        if name not in chain[-1].argnames and not any(_is_ours(fixture) for fixture in built_on):
            yield chain[-1]


def _is_ours(fixture: pytest.FixtureDef[Any]) -> bool:
    return fixture.func.__module__ == PLUGIN


def _expects_ours(item: pytest.Item, fixtures: Fixtures) -> bool:
    """Return whether a test uses a fixture of Greenroom's, or its module imports from Greenroom."""
    if any(_is_ours(chain[-1]) for chain in fixtures.values() if chain):
        return True
    for value in vars(getattr(item, "module", None) or object).values():
        name = getattr(value, "__name__" if inspect.ismodule(value) else "__module__", None)
        if str(name).partition(".")[0] == "greenroom":
            return True
    return False


def _place(fixture: pytest.FixtureDef[Any], root: Path) -> str:
    code = inspect.unwrap(fixture.func).__code__
    file = Path(code.co_filename)
    return f"{file.relative_to(root) if file.is_relative_to(root) else file}:{code.co_firstlineno}"
