"""The images that we can build, each with its inputs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from greenroom.errors import Misuse, Unavailable
from greenroom.homeserver.synapse import SYNAPSE

CHECKOUT = Path(__file__).parents[4]
SUITE = "trixie"  # Debian's release under the official Synapse image and under python:3.13-slim
PYTHON_BASE = f"python:3.13-slim-{SUITE}"
POSTGRES_VERSION = "17"  # that Debian release's version
INPUTS = "dev.greenroom.inputs"  # a label with the fingerprint of all inputs


@dataclass(frozen=True)
class Image:
    """One image. Its paths are relative to the checkout, and the same in the build context."""

    name: str
    tag: str
    base: str  # from a registry, if one answers
    dockerfile: str
    sources: tuple[str, ...]
    requirements: str = ""  # for pip; empty: nothing to install
    unwheeled: tuple[str, ...] = ()  # pure Python packages that the index has as source only
    packages: tuple[str, ...] = ()  # Debian packages that `base` has, and that a bare Debian base needs

    @property
    def wheels(self) -> str:
        """The context's folder for downloaded wheels."""
        return str(Path(self.requirements).with_name("wheels"))

    def files(self, checkout: Path) -> dict[str, bytes]:
        """Return all files of the context, except wheels: path to content."""
        found: dict[str, bytes] = {}
        for source in (self.dockerfile, *self.sources):
            path = checkout / source
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if file.is_file() and "__pycache__" not in file.parts:
                    found[str(file.relative_to(checkout))] = file.read_bytes()
        return found

    def fingerprint(self, checkout: Path, base: str) -> str:
        """Return a string that changes with every input."""
        digest = hashlib.sha256(base.encode())
        for name, content in self.files(checkout).items():
            digest.update(f"\0{name}\0".encode() + hashlib.sha256(content).digest())
        return digest.hexdigest()[:32]


IMAGES = {
    image.name: image
    for image in (
        Image(
            name="synapse",
            tag=SYNAPSE.own_image,
            base=PYTHON_BASE,
            dockerfile="compose/synapse/Dockerfile",
            sources=("constraints.txt", "compose/synapse/requirements.txt"),
            requirements="compose/synapse/requirements.txt",
            packages=("python3", "python3-venv", "ca-certificates"),
        ),
        Image(
            name="bot",
            tag="greenroom-bot:latest",
            base=PYTHON_BASE,
            dockerfile="compose/bot/Dockerfile",
            sources=("constraints.txt", "compose/bot/requirements.txt", "bot/greenroom_bot"),
            requirements="compose/bot/requirements.txt",
            unwheeled=("atomicwrites",),
            packages=("python3", "python3-venv", "ca-certificates"),
        ),
        Image(
            name="postgres",
            tag=f"greenroom-postgres:{POSTGRES_VERSION}",
            base=f"postgres:{POSTGRES_VERSION}-{SUITE}",
            dockerfile="compose/postgres/Dockerfile",
            sources=("compose/postgres/start.sh",),
            packages=(f"postgresql-{POSTGRES_VERSION}", "ca-certificates"),
        ),
    )
}


def image_named(name: str) -> Image:
    """Return the image of that name. Raises Misuse for an unknown name."""
    try:
        return IMAGES[name]
    except KeyError:
        raise Misuse(f"no such image: {name!r}; there are {', '.join(IMAGES)}") from None


def checkout() -> Path:
    """Return the checkout with the Dockerfiles. Raises Unavailable if only the package is installed."""
    if not (CHECKOUT / IMAGES["synapse"].dockerfile).exists():
        raise Unavailable(
            "building an image", "the Dockerfiles are in Greenroom's repository, not in its package", "a checkout of it"
        )
    return CHECKOUT
