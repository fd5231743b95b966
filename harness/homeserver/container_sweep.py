"""Removing what dead runs left in an engine, by label."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import Unavailable
from harness.homeserver.container_engine import Engine, connect
from harness.homeserver.container_labels import CREATOR, FOLDER, RUN, containers_of, remove
from harness.procfs import ProcessIdentity


def end_containers(engine_url: str, run_id: str, *, rescue: bool) -> list[str]:
    """Remove the containers of one run from an engine; give their short ids."""
    engine = connect(engine_url)
    try:
        found = containers_of(engine, run_id)
        for container in found:
            remove(container, rescue=rescue)
        return [container.short_id for container in found]
    finally:
        engine.close()


def orphans(engine: Engine) -> list[Any]:
    """List our containers whose maker is dead and which nobody keeps: not one that `dev --detach` left running."""
    return [found for found in containers_of(engine) if not _has_maker(found.labels) and not _is_kept(found.labels)]


def sweep_orphans(engine: Engine) -> list[str]:
    """Remove them; give their short ids. Needs no manifest: a runs folder may have been deleted by hand."""
    found = orphans(engine)
    for container in found:
        remove(container)
    return [container.short_id for container in found]


def _has_maker(labels: Mapping[str, str]) -> bool:
    pid, _, started = labels.get(CREATOR, "").partition(" ")
    return pid.isdigit() and ProcessIdentity(int(pid), started).is_alive()


def _is_kept(labels: Mapping[str, str]) -> bool:
    """Say whether a manifest beside its data still names its run: a dev environment, running or killed.

    That one is `down`'s and `dev`'s to end, because its data is to be brought back first.
    """
    manifest = Path(labels.get(FOLDER, "")).parent / "run.json"
    try:
        return bool(json.loads(manifest.read_text())["run_id"] == labels[RUN] and labels[RUN].startswith("dev-"))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def sweep_machine(*, dry_run: bool = False) -> list[str]:
    """Remove the orphans in the engine that is here, if one is; give their ids. With `dry_run` only name them."""
    try:
        engine = connect()
    except Unavailable:
        return []
    try:
        return [found.short_id for found in orphans(engine)] if dry_run else sweep_orphans(engine)
    finally:
        engine.close()


def list_containers(engine_url: str, run_id: str) -> list[str]:
    """Name the containers of one run."""
    engine = connect(engine_url)
    try:
        return [container.short_id for container in containers_of(engine, run_id)]
    finally:
        engine.close()
