"""What `doctor` finds out about containers: the engine, its kind, its images."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from typing import Any

from harness.errors import HarnessError, Unavailable
from harness.finding import Finding
from harness.homeserver.container_engine import Engine, asking, connect, publish_address
from harness.homeserver.container_image import VARIABLES, candidates, cure, find_image
from harness.homeserver.interface import Kind

MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
NEEDED_MEMORY_BYTES = 1 << 30


def containers(connect: Callable[[], Engine] = connect) -> Iterator[Finding]:
    """Look at the engine and what is in it. Nothing of it is needed: Synapse runs as a process too."""
    try:
        engine = connect()
    except Unavailable as lacking:
        yield Finding("container engine", False, lacking.why, lacking.cure, needed=False)
        return
    try:
        yield from _engine(engine)
        for kind in Kind:
            yield image(engine, kind)
    except HarnessError as error:
        yield Finding("container engine", False, str(error), "look at the engine's own log", needed=False)
    finally:
        engine.close()


def _engine(engine: Engine) -> Iterator[Finding]:
    version: dict[str, Any] = asking("asking the engine for its version", engine.client.version)
    info: dict[str, Any] = asking("asking the engine about itself", engine.client.info)
    where = engine.url or "the default socket"
    yield Finding("container engine", True, f"{engine_name(version, info)} at {where}", needed=False)
    theirs, ours = str(info.get("Architecture", "")), platform.machine()
    same = MACHINES.get(theirs, theirs) == MACHINES.get(ours, ours)
    yield Finding(
        "engine architecture",
        same,
        theirs if same else f"{theirs}, and this machine is {ours}",
        "" if same else "take images for the engine's architecture, or build them there",
        needed=False,
    )
    memory = int(info.get("MemTotal", 0))
    roomy = memory >= NEEDED_MEMORY_BYTES
    seen = f"{memory // 1024**2} MiB, {info.get('NCPU', '?')} CPUs"
    yield Finding("engine memory", roomy, seen, "" if roomy else "give the engine at least 1 GiB", needed=False)
    try:
        address = publish_address(engine)
    except Unavailable as lacking:
        yield Finding("publishing", False, lacking.why, lacking.cure, needed=False)
    else:
        yield Finding("publishing", True, f"homeservers are published at {address}", needed=False)


def engine_name(version: dict[str, Any], info: dict[str, Any]) -> str:
    """Say which engine that is: Docker or podman, rootless or not."""
    parts = [str(part.get("Name", "")) for part in version.get("Components") or []]
    podman = any("podman" in part.lower() for part in parts)
    rootless = any("rootless" in str(option) for option in info.get("SecurityOptions") or [])
    return f"{'podman' if podman else 'Docker'} {version.get('Version', '?')}{', rootless' if rootless else ''}"


def image(engine: Engine, kind: Kind) -> Finding:
    """The image that a homeserver would run from."""
    what = f"{kind} image"
    if found := find_image(engine, kind):
        return Finding(what, True, found, needed=False)
    return Finding(
        what, False, f"no {' or '.join(candidates(kind).names)} ({VARIABLES[kind]})", cure(kind), needed=False
    )
