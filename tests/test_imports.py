"""Imports run one way: the tables here are the architecture."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HOUSE = {"greenroom_bot": ROOT / "bot", "greenroom_reset": ROOT / "reset", "greenroom": ROOT / "harness"}
MAY_IMPORT = {
    "greenroom_bot": ("greenroom_bot",),
    "greenroom_reset": ("greenroom_reset", "greenroom_bot.config", "greenroom_bot.matrix"),
    "greenroom": ("greenroom",),
}
DOCKER = ("docker", "testcontainers")
# The rooms of each package (its top-level files and folders), from the ground up. Imports run to lower floors only.
FLOORS: dict[str, tuple[tuple[str, ...], ...]] = {
    "greenroom_bot": (
        ("matrix", "log"),
        ("config", "rooms", "responder"),
        ("queues", "messenger", "commands", "check"),
        ("app",),
        ("__main__",),
    ),
    "greenroom": (
        ("errors", "spelling"),
        ("waiting", "processes", "yaml_files"),
        ("homeserver",),
        ("people", "faults"),
        ("evidence",),
        ("checks", "bot_ready", "seed", "configuration", "hosted"),
        ("bot_process", "snapshots"),
        ("must", "session"),
        ("never",),
        ("scenarios", "shadows"),
        ("http_interface",),
        ("stage",),
        ("commands", "plugin"),
        ("__main__",),
    ),
}


def modules(package: str) -> dict[str, Path]:
    """Map the full name of each module of a package to its file; a folder's `__init__` has the folder's name."""
    where = HOUSE[package]
    names = {file: file.relative_to(where).with_suffix("").parts for file in (where / package).rglob("*.py")}
    return {".".join(parts).removesuffix(".__init__"): file for file, parts in names.items()}


@cache
def imported(file: Path) -> frozenset[str]:
    """Every module that a file imports, wherever in it, by its full name."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def below(name: str, packages: tuple[str, ...]) -> bool:
    """Whether a module is one of these or inside one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def arrows(package: str) -> set[tuple[str, str]]:
    """All imports between modules of one package, as (importing, imported)."""
    known = modules(package)
    return {
        (name, target)
        for name, file in known.items()
        for target in imported(file) & known.keys()
        if target != name and not (target == package or name.startswith(f"{target}."))
    }


def circle(edges: set[tuple[str, str]]) -> list[str]:
    """Return the modules that import each other in a circle, or stand between two circles."""
    left, before = set(edges), set()
    while left != before:
        before = left
        importing, targets = {edge[0] for edge in left}, {edge[1] for edge in left}
        left = {edge for edge in left if edge[1] in importing and edge[0] in targets}
    return sorted({edge[0] for edge in left})


@pytest.mark.parametrize("package", HOUSE)
def test_a_package_imports_only_what_it_may(package):
    """The reset tool uses the bot's settings and Matrix client; the harness and the bot use only themselves."""
    for file in modules(package).values():
        for name in imported(file):
            if below(name, tuple(HOUSE)):
                allowed = below(name, MAY_IMPORT[package]) or name in ("greenroom_bot",)
                assert allowed, f"{file.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("package", HOUSE)
def test_no_circle_of_imports(package):
    """Between modules, also where an import stands inside a function."""
    assert circle(arrows(package)) == []


@pytest.mark.parametrize("package", FLOORS)
def test_rooms_import_from_lower_floors_only(package):
    """The table of floors names every room, and no import runs up or sideways."""
    floor = {room: number for number, rooms in enumerate(FLOORS[package]) for room in rooms}
    rooms = {name.split(".")[1] for name in modules(package) if name != package}

    assert rooms == floor.keys()
    for importing, target in arrows(package):
        if importing == package:  # the package's face, which hands names on
            continue
        above, under = importing.split(".")[1], target.split(".")[1]
        assert above == under or floor[above] > floor[under], f"{importing} imports {target}"


def test_only_the_harness_knows_docker():
    """Neither the bot nor the reset tool can depend on a container engine."""
    for package in ("greenroom_bot", "greenroom_reset"):
        for file in modules(package).values():
            assert [name for name in imported(file) if below(name, DOCKER)] == []


def test_every_package_is_judged():
    """A new package must get a row in the table."""
    found = {file.parent.name for file in ROOT.glob("*/*/__init__.py")} - {"tests"}

    assert found == set(MAY_IMPORT)
