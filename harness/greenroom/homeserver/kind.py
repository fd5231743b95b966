"""A kind of homeserver is data: one file describes it, and one line of `KINDS` makes it known.

Nothing else in Greenroom names a kind. Code asks the kind for its image, its recipe and its way to make accounts, and
asks a running server for its capabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from pkgutil import resolve_name
from typing import cast

from greenroom.errors import Misuse
from greenroom.homeserver.interface import Capability, Missing, ProcessHomeserver, require
from greenroom.homeserver.settings import HomeserverSettings, Secrets

KINDS: dict[str, str] = {
    "synapse": "greenroom.homeserver.synapse:SYNAPSE",
    "conduit": "greenroom.homeserver.conduit:CONDUIT",
    "tuwunel": "greenroom.homeserver.conduit:TUWUNEL",
    "continuwuity": "greenroom.homeserver.conduit:CONTINUWUITY",
    "dendrite": "greenroom.homeserver.dendrite:DENDRITE",
}
"""Name -> where its `HomeserverKind` is; imported when it is asked for."""
DEFAULT_KIND = next(iter(KINDS))

# What stands in for what several kinds lack.
PEOPLE_INSTEAD = "people of the room instead of an administrator: they rename, kick, ban and leave"
LIMITS_INSTEAD = "`faults.rate_limited()`: the fault proxy answers 429 for any homeserver"
LIMITS_PER_USER_INSTEAD = "`faults.rate_limited(user=...)`: the fault proxy answers 429 for any homeserver"
ALONE_IN_A_CONTAINER = Missing(
    "homeservers in containers have no way to each other yet", "--homeserver synapse --backend process"
)


@dataclass(frozen=True)
class Recipe:
    """How one homeserver runs in a container. Paths are inside the container."""

    image: str
    entrypoint: list[str]  # empty: the image's own
    command: list[str]  # empty: the image's own, if its entrypoint is used too
    port: int
    folder: str  # configuration and data; the working directory
    uid: int
    gid: int
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    host_network: bool = False  # it shares the engine's loopback, on which it listens on `port` itself


@dataclass(frozen=True)
class HomeserverKind:
    """What Greenroom knows of one homeserver software."""

    name: str
    image: str  # the official one, of a released version: a test that passed today passes tomorrow
    missing: Mapping[Capability, Missing]  # what it cannot do, each with its reason; it can do everything else
    registration: Capability  # the way to make accounts
    recipe: Callable[[str, HomeserverSettings, Secrets, Path], Recipe]  # of an image; the path holds data kept earlier
    warm_files: Callable[[HomeserverSettings, Secrets, Path, str, int], Mapping[str, bytes]] | None = None
    """Of one that a warm parent forks in a container: for its folder and port there. None: there is no such parent."""
    own_image: str = ""  # what `invoke image` builds; empty: nothing
    process: type[ProcessHomeserver] | None = None  # None: runs in a container only
    database: str = "homeserver.db"  # below the server's folder; while a container runs, as it was before
    data: str = "."  # below the server's folder: where a container's data is kept while there is no container
    configuration: tuple[str, ...] = ()  # below `data`: patterns of the files that are written anew at each start
    room_versions: tuple[str, ...] = ()  # that it can make
    lacks: Callable[[HomeserverSettings], Mapping[Capability, Missing]] = lambda settings: {}  # beside `missing`
    hint: Callable[[Sequence[str]], str] = lambda log_tail: ""  # what to try after a failed start
    untried: bool = False  # written from its documents: nobody has started it with Greenroom yet

    def __str__(self) -> str:
        return self.name

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What it can do."""
        return frozenset(Capability) - self.missing.keys()

    @property
    def image_variable(self) -> str:
        """The environment variable that names another image."""
        return f"GREENROOM_{self.name.upper()}_IMAGE"

    def check_settings(self, settings: HomeserverSettings) -> None:
        """Raise CapabilityMissing for settings that need what this homeserver lacks, Misuse for its room version."""
        wanted = []
        if settings.appservices:
            wanted.append(Capability.APPSERVICES)
        if settings.rate_limits != "none":
            wanted.append(Capability.RATE_LIMITS)
        require(wanted, self.missing, self.name)
        self.check_room_version(settings.room_version)

    def check_room_version(self, version: str | None) -> None:
        """Raise Misuse, listing the room versions that this homeserver can make, for any other one."""
        if version is not None and version not in self.room_versions:
            known = ", ".join(self.room_versions)
            raise Misuse(f"{self} makes no rooms of version {version!r}; there are {known}")


def find_kind(name: str) -> HomeserverKind:
    """Return the kind of that name. Raises Misuse, listing all kinds, if there is none."""
    if name not in KINDS:
        raise Misuse(f"no such homeserver: {name!r}; there are {', '.join(KINDS)}")
    return cast("HomeserverKind", resolve_name(KINDS[name]))
