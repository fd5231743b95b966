"""`doctor`: check this machine and suggest a fix for each problem."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenroom.commands.dev.console import Console
from greenroom.commands.images.wheels import machine_name
from greenroom.errors import HarnessError, Unavailable
from greenroom.homeserver.container.engine import Engine, asking, connect, publish_address
from greenroom.homeserver.container.image import candidates, cure, find_image
from greenroom.homeserver.kind import KINDS, HomeserverKind, find_kind
from greenroom.homeserver.synapse_process import INSTALL


@dataclass(frozen=True)
class Finding:
    """One check and its result. A bad one has a one-line fix; the `needed` ones decide the exit code."""

    what: str
    good: bool
    seen: str
    fix: str = ""
    needed: bool = True

    def __str__(self) -> str:
        mark = "ok" if self.good else "PROBLEM" if self.needed else "note"
        return f"{mark:<8} {self.what}: {self.seen}" + (f"\n         fix: {self.fix}" if self.fix else "")


NEEDED_MEMORY_BYTES = 1 << 30


def containers(connect: Callable[[], Engine] = connect) -> Iterator[Finding]:
    """Check the engine and its images. None of this is needed: Synapse also runs as a process."""
    try:
        engine = connect()
    except Unavailable as error:
        yield Finding("container engine", False, error.why, error.fix, needed=False)
        return
    try:
        yield from _engine(engine)
        for name in KINDS:
            yield image(engine, find_kind(name))
    except HarnessError as error:
        yield Finding("container engine", False, str(error), "read the engine's own log", needed=False)
    finally:
        engine.close()


def _engine(engine: Engine) -> Iterator[Finding]:
    version: dict[str, Any] = asking("asking the engine for its version", engine.client.version)
    info: dict[str, Any] = asking("asking the engine about itself", engine.client.info)
    where = engine.url or "the default socket"
    yield Finding("container engine", True, f"{engine_name(version, info)} at {where}", needed=False)
    theirs, ours = str(info.get("Architecture", "")), platform.machine()
    same = machine_name(theirs) == machine_name(ours)
    yield Finding(
        "engine architecture",
        same,
        theirs if same else f"{theirs}, but this machine is {ours}",
        "" if same else "use images for the engine's architecture, or build them there",
        needed=False,
    )
    memory = int(info.get("MemTotal", 0))
    roomy = memory >= NEEDED_MEMORY_BYTES
    seen = f"{memory // 1024**2} MiB, {info.get('NCPU', '?')} CPUs"
    yield Finding("engine memory", roomy, seen, "" if roomy else "give the engine at least 1 GiB", needed=False)
    try:
        address = publish_address(engine)
    except Unavailable as error:
        yield Finding("publishing", False, error.why, error.fix, needed=False)
    else:
        yield Finding("publishing", True, f"homeservers get ports at {address}", needed=False)


def engine_name(version: dict[str, Any], info: dict[str, Any]) -> str:
    """Return the engine's name and version: Docker or podman, rootless or not."""
    parts = [str(part.get("Name", "")) for part in version.get("Components") or []]
    podman = any("podman" in part.lower() for part in parts)
    rootless = any("rootless" in str(option) for option in info.get("SecurityOptions") or [])
    return f"{'podman' if podman else 'Docker'} {version.get('Version', '?')}{', rootless' if rootless else ''}"


def image(engine: Engine, kind: HomeserverKind) -> Finding:
    """Check the image for a kind of homeserver."""
    what = f"{kind} image{', untried' if kind.untried else ''}"
    if found := find_image(engine, kind):
        return Finding(what, True, found, needed=False)
    return Finding(
        what, False, f"no {' or '.join(candidates(kind).names)} ({kind.image_variable})", cure(kind), needed=False
    )


NEEDED_FREE_BYTES = 500 * 1024 * 1024


def doctor(console: Console | None = None) -> int:
    """Print all findings. Return exit code 0 if `dev` and the tests can run here, 1 if not."""
    console = console or Console()
    findings = list(examine())
    for finding in findings:
        console.say(str(finding))
    return 0 if all(finding.good for finding in findings if finding.needed) else 1


def examine() -> Iterator[Finding]:
    """Yield all findings."""
    yield python()
    yield synapse()
    yield bytecode()
    yield from containers()
    yield ports()
    yield disk(Path(tempfile.gettempdir()))


def python() -> Finding:
    """Check the Python version."""
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    return Finding("Python", good, f"{version} at {sys.executable}", "" if good else "install Python 3.11 or newer")


def synapse() -> Finding:
    """Check that Synapse can run as a process."""
    if importlib.util.find_spec("synapse") is None:
        return Finding("Synapse as a process", False, "not installed", INSTALL)
    version = importlib.metadata.version("matrix-synapse")
    return Finding("Synapse as a process", True, f"matrix-synapse {version}")


def bytecode() -> Finding:
    """Check the setting that makes every start compile Synapse again."""
    if not os.environ.get("PYTHONDONTWRITEBYTECODE"):
        return Finding("Python bytecode cache", True, "in use")
    seen = "PYTHONDONTWRITEBYTECODE is set (Greenroom starts homeservers without it)"
    return Finding("Python bytecode cache", False, seen, "unset PYTHONDONTWRITEBYTECODE", needed=False)


def ports() -> Finding:
    """Check that programs can listen on loopback ports."""
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
    except OSError as error:
        return Finding("loopback ports", False, str(error.strerror), "allow programs to listen on 127.0.0.1")
    return Finding("loopback ports", True, "available")


def disk(folder: Path) -> Finding:
    """Check the free space for databases and logs."""
    free = shutil.disk_usage(folder).free
    good = free >= NEEDED_FREE_BYTES
    fix = "" if good else f"free some space below {folder}, or set TMPDIR to another folder"
    return Finding("free disk", good, f"{free // 1024**2} MiB in {folder}", fix)
