"""`doctor`: what this machine can do, each finding with a one-line cure."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from harness.dev.console import Console
from harness.finding import Finding

NEEDED_FREE_BYTES = 500 * 1024 * 1024


def doctor(console: Console | None = None) -> int:
    """Print all findings; exit code 0 if `dev` and the tests can run here, 1 if not."""
    console = console or Console()
    findings = list(examine())
    for finding in findings:
        console.say(str(finding))
    return 0 if all(finding.good for finding in findings if finding.needed) else 1


def examine() -> Iterator[Finding]:
    """Look at everything."""
    from harness.doctor_containers import containers  # asks the engine: only when somebody wants to know

    yield python()
    yield synapse()
    yield bytecode()
    yield from containers()
    yield ports()
    yield disk(Path(tempfile.gettempdir()))


def python() -> Finding:
    """The interpreter."""
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    return Finding("Python", good, f"{version} at {sys.executable}", "" if good else "install Python 3.11 or newer")


def synapse() -> Finding:
    """Synapse as a process."""
    if importlib.util.find_spec("synapse") is None:
        return Finding("Synapse as a process", False, "not installed", "pip install 'matrix-greenroom[embedded]'")
    version = importlib.metadata.version("matrix-synapse")
    return Finding("Synapse as a process", True, f"matrix-synapse {version}")


def bytecode() -> Finding:
    """The setting that makes every start compile Synapse anew."""
    if not os.environ.get("PYTHONDONTWRITEBYTECODE"):
        return Finding("Python bytecode cache", True, "in use")
    seen = "PYTHONDONTWRITEBYTECODE is set (homeservers are started without it)"
    return Finding("Python bytecode cache", False, seen, "unset PYTHONDONTWRITEBYTECODE", needed=False)


def ports() -> Finding:
    """Loopback ports for homeservers."""
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
    except OSError as error:
        return Finding("loopback ports", False, str(error.strerror), "allow programs to listen on 127.0.0.1")
    return Finding("loopback ports", True, "to be had")


def disk(folder: Path) -> Finding:
    """Room for databases and logs."""
    free = shutil.disk_usage(folder).free
    good = free >= NEEDED_FREE_BYTES
    cure = "" if good else f"free some space below {folder}, or point TMPDIR elsewhere"
    return Finding("free disk", good, f"{free // 1024**2} MiB in {folder}", cure)
