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


@pytest.mark.parametrize("package", HOUSE)
def test_a_package_imports_only_what_it_may(package):
    """The reset tool uses the bot's settings and Matrix client; the harness and the bot use only themselves."""
    for file in modules(package).values():
        for name in imported(file):
            if below(name, tuple(HOUSE)):
                allowed = below(name, MAY_IMPORT[package]) or name in ("greenroom_bot",)
                assert allowed, f"{file.relative_to(ROOT)} imports {name}"


def test_only_the_harness_knows_docker():
    """Neither the bot nor the reset tool can depend on a container engine."""
    for package in ("greenroom_bot", "greenroom_reset"):
        for file in modules(package).values():
            assert [name for name in imported(file) if below(name, DOCKER)] == []


def test_every_package_is_judged():
    """A new package must get a row in the table."""
    found = {file.parent.name for file in ROOT.glob("*/*/__init__.py")} - {"tests"}

    assert found == set(MAY_IMPORT)
