"""The key of a seeded homeserver's snapshot: a hash of everything that its data follows from, so it is never stale."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from greenroom.homeserver.choose import Choice
from greenroom.homeserver.settings import HomeserverSettings
from greenroom.seed.blueprint import Blueprint
from greenroom.snapshots.kept import FORMAT

GREENROOM = Path(__file__).parent.parent
# What makes the data. With other sources the same blueprint may give other data.
SOURCES = (
    GREENROOM / "homeserver",
    GREENROOM / "people" / "accounts.py",
    GREENROOM / "people" / "matrix_api.py",
    GREENROOM / "seed",
    GREENROOM / "snapshots",
)


def data_settings(settings: HomeserverSettings) -> HomeserverSettings:
    """Return only those settings that the data of a freshly seeded homeserver follows from.

    The others say how a homeserver behaves, and can be different at each start on the same data.
    """
    return HomeserverSettings(
        server_name=settings.server_name, room_version=settings.room_version, extra=settings.extra
    )


def snapshot_key(choice: Choice, version: str, settings: HomeserverSettings, blueprint: Blueprint) -> str:
    """Return the key. `version` is what `choose.version_of` says."""
    alone = data_settings(settings)
    follows_from = {
        "format": FORMAT,
        "kind": choice.kind.name,
        "backend": str(choice.backend),
        "version": version,
        "settings": {"server_name": alone.server_name, "room_version": alone.room_version, "extra": alone.extra},
        "blueprint": blueprint.fingerprint,
        "sources": hash_of_sources(SOURCES),
    }
    told = json.dumps(follows_from, sort_keys=True, default=repr)
    return hashlib.sha256(told.encode()).hexdigest()[:32]


@cache
def hash_of_sources(sources: Iterable[Path]) -> str:
    """Return a hash of the names and texts of Python files, given by themselves or by their folders."""
    whole = hashlib.sha256()
    for path in _files(sources):
        whole.update(f"{path.name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return whole.hexdigest()


def _files(sources: Iterable[Path]) -> Iterator[Path]:
    for source in sources:
        yield from sorted(source.rglob("*.py")) if source.is_dir() else [source]
