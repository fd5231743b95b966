"""Choose a homeserver by kind and backend, and say which one and why."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from greenroom.errors import Misuse, Unavailable
from greenroom.homeserver.interface import Backend, Homeserver
from greenroom.homeserver.kind import DEFAULT_KIND, HomeserverKind, find_kind
from greenroom.homeserver.settings import HomeserverSettings
from greenroom.processes.runs import NO_RUN, Run

AUTO = "auto"
BACKENDS = (AUTO, Backend.CONTAINER, Backend.PROCESS)


@dataclass(frozen=True)
class Choice:
    """A kind on a backend, with the reason for a person."""

    kind: HomeserverKind
    backend: Backend
    why: str

    @property
    def federates(self) -> bool:
        """Whether homeservers of this choice can federate with each other."""
        return self.backend is Backend.PROCESS and self.kind.process is not None and self.kind.process.federates

    def begun_ahead(self) -> AbstractContextManager[None]:
        """Begin what the first homeserver of this choice waits for, without waiting. It ends with the block."""
        if self.backend is Backend.PROCESS and self.kind.process is not None:
            return self.kind.process.begun_ahead()
        return nullcontext()


def parse_backend(text: str) -> str:
    """Return the backend of that name. Raises Misuse if there is none."""
    if text not in BACKENDS:
        raise Misuse(f"no such backend: {text!r}; there are {', '.join(BACKENDS)}")
    return text


def choose(kind: str = DEFAULT_KIND, backend: str = AUTO) -> Choice:
    """Decide what to run. Raises Misuse for an unknown name, Unavailable for what cannot run on this machine."""
    wanted, backend = find_kind(kind), parse_backend(backend)
    untried = ", and nobody has tried this kind yet" if wanted.untried else ""
    if backend == Backend.CONTAINER:
        return Choice(wanted, Backend.CONTAINER, f"asked for, image {_image_for(wanted, may_pull=True)}{untried}")
    if backend == Backend.PROCESS:
        return _process(wanted, "asked for")
    try:
        image = _image_for(wanted, may_pull=False)
    except Unavailable as no_container:
        if wanted.process is None:
            raise
        return _process(wanted, f"no container: {no_container.why}")
    return Choice(wanted, Backend.CONTAINER, f"an engine and the image {image} are here{untried}")


def version_of(choice: Choice) -> str:
    """Return what exactly runs: the version of the installed software, or the id of the image.

    Raises Unavailable if there is no engine or no image any more.
    """
    if choice.backend is Backend.PROCESS:
        assert choice.kind.process is not None, "choose() refuses such a choice"
        return choice.kind.process.version()
    from greenroom.homeserver.container.engine import connect
    from greenroom.homeserver.container.image import ensure_image

    engine = connect()
    try:
        return str(engine.client.images.get(ensure_image(engine, choice.kind)).id)
    finally:
        engine.close()


def _image_for(kind: HomeserverKind, *, may_pull: bool) -> str:
    """Return an image that the engine has. Raises Unavailable if there is no engine or no image."""
    from greenroom.homeserver.container.engine import connect
    from greenroom.homeserver.container.image import ensure_image, present_image

    engine = connect()
    try:
        return ensure_image(engine, kind) if may_pull else present_image(engine, kind)
    finally:
        engine.close()


def _process(kind: HomeserverKind, why: str) -> Choice:
    if kind.process is None:
        raise Unavailable(f"{kind} as a process", f"{kind} runs in a container only", "--backend container")
    kind.process.check_installed()
    return Choice(kind, Backend.PROCESS, why)


def make_homeserver(
    choice: Choice,
    folder: Path,
    settings: HomeserverSettings,
    *,
    log_path: Path | None = None,
    run: Run = NO_RUN,
    dies_with_parent: bool = True,
) -> Homeserver:
    """Return the homeserver of a choice, not started. `run` notes what it will start.

    Raises Misuse for a room version that this kind does not know, CapabilityMissing for other settings that need what
    it lacks.
    """
    choice.kind.check_settings(settings)
    if choice.backend is Backend.PROCESS:
        assert choice.kind.process is not None, "choose() refuses such a choice"
        return choice.kind.process(folder, settings, log_path=log_path, run=run, dies_with_parent=dies_with_parent)
    from greenroom.homeserver.container.start import ContainerHomeserver

    return ContainerHomeserver(
        folder, settings, kind=choice.kind, log_path=log_path, run=run, dies_with_parent=dies_with_parent
    )
