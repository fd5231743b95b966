"""Wheels for an image, downloaded on this machine. The build itself then needs no network, proxy or certificates.

This machine's pip settings (index, proxy, certificates, find-links) apply.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from greenroom.errors import HarnessError

GLIBC_MINORS = range(5, 42)  # manylinux_2_5 to Debian 13's glibc 2.41; pip matches these names literally
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
LEGACY = {"x86_64": ("manylinux1", "manylinux2010", "manylinux2014"), "aarch64": ("manylinux2014",)}


def download_wheels(
    requirements: Path, constraints: Path, into: Path, *, python: str, machine: str, unwheeled: Sequence[str] = ()
) -> None:
    """Download wheels for a Python version ("3.13") and machine ("x86_64"). Raises HarnessError with pip's error.

    `unwheeled` are pure Python packages that the index has as source only. Their wheels are built here.
    """
    if unwheeled:
        _pip("wheel", "--no-deps", "--wheel-dir", str(into), "--constraint", str(constraints), *unwheeled)
    wanted = ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    for platform in platforms(machine):
        wanted += ["--platform", platform]
    wanted += ["--find-links", str(into), "--constraint", str(constraints), "--requirement", str(requirements)]
    _pip("download", "--dest", str(into), *wanted)


def _pip(what: str, *arguments: str) -> None:
    command = [sys.executable, "-m", "pip", what, "--quiet", "--no-input", "--disable-pip-version-check", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        errors = [line for line in ended.stderr.splitlines() if line.startswith("ERROR")] or ended.stderr.splitlines()
        raise HarnessError("pip could not download the image's wheels: " + " / ".join(errors[-2:]))


def machine_name(machine: str) -> str:
    """Return Python's name of a machine type, for that name or the container engine's."""
    return MACHINES.get(machine, machine)


def platforms(machine: str) -> list[str]:
    """Return the wheel platforms that our Debian images accept."""
    machine = machine_name(machine)
    modern = [f"manylinux_2_{minor}_{machine}" for minor in GLIBC_MINORS]
    return [*modern, *(f"{name}_{machine}" for name in LEGACY.get(machine, ()))]
