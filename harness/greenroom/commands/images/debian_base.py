"""A Debian base image made on this machine with debootstrap, for when no registry answers.

It needs root and a Debian mirror (debootstrap's own mirror setting and proxy variables apply).
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from greenroom.commands.images.wheels import machine_name
from greenroom.errors import HarnessError, Unavailable
from greenroom.homeserver.container.engine import Engine, asking

Say = Callable[[str], None]
# What the first line of debootstrap with this word means for the whole.
PHASES = {
    "Retrieving": "downloading packages",
    "Extracting": "extracting the core of the system",
    "Unpacking": "unpacking packages",
    "Configuring": "configuring packages",
}
# Files that an image does not need. Licences (doc/*/copyright) stay.
UNNEEDED = (
    "var/cache/apt/archives/*.deb",
    "var/cache/apt/*.bin",
    "var/lib/apt/lists/*",
    "var/log/*.log",
    "usr/share/locale/*",
    "usr/share/man/*",
    "usr/share/info/*",
    "var/lib/postgresql/*",  # the package creates a cluster; the image creates its own at the first start
    "etc/postgresql/*",
)


def make_debian_base(engine: Engine, tag: str, suite: str, packages: Sequence[str], say: Say) -> None:
    """Make and tag a base image. Raises Unavailable, with a fix, if this machine cannot do it."""
    _check_architecture(engine)
    debootstrap = find_debootstrap(say)
    with tempfile.TemporaryDirectory(prefix="greenroom-base-") as temporary:
        root = Path(temporary) / "root"
        say(f"base: making Debian {suite} with debootstrap ({', '.join(packages)}); about a minute")
        command = [debootstrap, "--variant=minbase", f"--include={','.join(packages)}", suite, str(root)]
        run_debootstrap(command, say)
        _slim(root)
        say(f"base: importing {tag}")
        _import(engine, root, tag)


def run_debootstrap(command: Sequence[str], say: Say) -> None:
    """Run debootstrap and say each phase once. Raises HarnessError with its last lines."""
    untold = dict(PHASES)
    last: deque[str] = deque(maxlen=3)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as child:
        assert child.stdout is not None
        for line in filter(None, map(str.strip, child.stdout)):
            last.append(line)
            if phase := untold.pop(line.removeprefix("I: ").partition(" ")[0], ""):
                say(f"base: {phase}")
    if child.returncode != 0:
        raise HarnessError("debootstrap failed: " + " / ".join(last or [f"exit code {child.returncode}"]))


def find_debootstrap(say: Say, *, uid: int | None = None) -> str:
    """Return the path of debootstrap. As root, install it with apt-get if it is missing."""
    uid = os.getuid() if uid is None else uid
    fix = "apt-get install debootstrap as root, and build again; or find a registry; or name a base with --base"
    if uid != 0:
        raise Unavailable("a base image", "no registry answers, and debootstrap needs root", fix)
    if found := shutil.which("debootstrap"):
        return found
    if shutil.which("apt-get") is None:
        raise Unavailable("a base image", "no registry answers, and debootstrap is not installed", fix)
    say("base: installing debootstrap with apt-get")
    for command in (["apt-get", "update", "-q"], ["apt-get", "install", "-y", "-q", "debootstrap"]):
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    found = shutil.which("debootstrap")
    if found is None:
        last = (ended.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Unavailable("a base image", f"apt-get could not install debootstrap ({last})", fix)
    return found


def _check_architecture(engine: Engine) -> None:
    info: dict[str, Any] = asking("asking the engine about itself", engine.client.info)
    theirs, ours = machine_name(str(info["Architecture"])), machine_name(platform.machine())
    if theirs != ours:
        problem = f"the engine is {theirs}, but this machine is {ours}"
        raise Unavailable("a base image", problem, "a machine of the engine's architecture")


def _slim(root: Path) -> None:
    for pattern in UNNEEDED:
        for path in root.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    for path in (root / "usr/share/doc").glob("*/*"):
        if path.name != "copyright" and path.is_file():
            path.unlink()


def _import(engine: Engine, root: Path, tag: str) -> None:
    name, _, version = tag.partition(":")
    archive = subprocess.Popen(["tar", "-C", str(root), "--numeric-owner", "-c", "."], stdout=subprocess.PIPE)
    with archive:
        assert archive.stdout is not None
        stream = archive.stdout
        changes = [
            "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LABEL dev.greenroom.base=yes",
        ]
        asking(
            "importing the base image",
            lambda: engine.client.api.import_image_from_stream(stream, repository=name, tag=version, changes=changes),
        )
