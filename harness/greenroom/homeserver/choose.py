"""Pick a homeserver by kind and backend, and say which and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from greenroom.errors import Misuse, Unavailable
from greenroom.homeserver.interface import Backend, Homeserver, Kind
from greenroom.homeserver.settings import HomeserverSettings
from greenroom.processes.process import OnSpawn

AUTO = "auto"
BACKENDS = (AUTO, Backend.CONTAINER, Backend.PROCESS)


@dataclass(frozen=True)
class Choice:
    """A kind on a backend, with the reason for a person."""

    kind: Kind
    backend: Backend
    why: str


def parse_kind(text: str) -> Kind:
    """Read `--homeserver`."""
    try:
        return Kind(text)
    except ValueError:
        raise Misuse(f"no such homeserver: {text!r}; there are {', '.join(Kind)}") from None


def parse_backend(text: str) -> str:
    """Check `--backend`."""
    if text not in BACKENDS:
        raise Misuse(f"no such backend: {text!r}; there are {', '.join(BACKENDS)}")
    return text


def choose(kind: str = Kind.SYNAPSE, backend: str = AUTO) -> Choice:
    """Decide what to run. Raises Misuse for a name that means nothing, Unavailable for what cannot run here."""
    wanted, backend = parse_kind(kind), parse_backend(backend)
    if backend == Backend.CONTAINER:
        return Choice(wanted, Backend.CONTAINER, f"asked for, image {_image_for(wanted, may_pull=True)}")
    if backend == Backend.PROCESS:
        return _process(wanted, "asked for")
    try:
        image = _image_for(wanted, may_pull=False)
    except Unavailable as no_container:
        if wanted is not Kind.SYNAPSE:
            raise
        return _process(wanted, f"no container: {no_container.why}")
    return Choice(wanted, Backend.CONTAINER, f"an engine and the image {image} are here")


def _image_for(kind: Kind, *, may_pull: bool) -> str:
    """Give an image that is here. Raises Unavailable if there is no engine or no image."""
    from greenroom.homeserver.container.engine import connect
    from greenroom.homeserver.container.image import ensure_image, present_image

    engine = connect()
    try:
        return ensure_image(engine, kind) if may_pull else present_image(engine, kind)
    finally:
        engine.close()


def _process(kind: Kind, why: str) -> Choice:
    from greenroom.homeserver.synapse_process import check_installed

    if kind is not Kind.SYNAPSE:
        raise Unavailable(f"{kind} as a process", "only Synapse runs as a process", "--backend container")
    check_installed()
    return Choice(kind, Backend.PROCESS, why)


def make_homeserver(
    choice: Choice,
    folder: Path,
    settings: HomeserverSettings,
    *,
    log_path: Path | None = None,
    marker: Mapping[str, str] | None = None,
    on_spawn: OnSpawn | None = None,
    on_engine: Callable[[str], None] | None = None,
    dies_with_parent: bool = True,
) -> Homeserver:
    """Make the homeserver of a choice, not started.

    `marker` goes into its environment or labels, so that it can be found; `on_engine` is told of the container engine
    before anything is made there.
    """
    if choice.backend is Backend.CONTAINER:
        from greenroom.homeserver.conduit_container import ConduitContainer
        from greenroom.homeserver.synapse_container import SynapseContainer

        in_container = SynapseContainer if choice.kind is Kind.SYNAPSE else ConduitContainer
        return in_container(
            folder,
            settings,
            log_path=log_path,
            marker=marker,
            on_spawn=on_spawn,
            on_engine=on_engine,
            dies_with_parent=dies_with_parent,
        )
    from greenroom.homeserver.synapse_process import SynapseProcess

    return SynapseProcess(
        folder,
        settings,
        log_path=log_path,
        marker=marker,
        on_spawn=on_spawn,
        dies_with_parent=dies_with_parent,
    )
