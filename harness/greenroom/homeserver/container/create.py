"""Create a homeserver's container: with few rights, its files copied in, and one port published."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenroom.homeserver.container.archive import pack
from greenroom.homeserver.container.engine import Engine, asking
from greenroom.homeserver.container.labels import labels_of
from greenroom.homeserver.kind import Recipe
from greenroom.processes.runs import Run

MEMORY = "1g"  # Synapse needs 110 MiB empty; a leak in a test should meet a wall before the machine does
PIDS = 512


@dataclass(frozen=True)
class Placement:
    """Where a container runs: its engine, its run, and the places of its log and data on this machine."""

    engine: Engine
    run: Run
    folder: Path
    log_path: Path
    port: int = 0  # on the engine's machine; 0: a free one
    dies_with_parent: bool = True

    @property
    def may_be_reaped(self) -> bool:
        """Whether Ryuk may remove the container seconds after our death.

        Not if it outlives us, and not in a `dev` run: the next `dev` brings the data of a killed one back.
        """
        return self.dies_with_parent and not self.run.run_id.startswith("dev-")


def create_options(recipe: Recipe, placement: Placement) -> dict[str, Any]:
    """Return docker-py's options for a container with no more rights than a homeserver needs."""
    return {
        "entrypoint": recipe.entrypoint or None,  # None: the image's own; an empty list would be none at all
        "user": f"{recipe.uid}:{recipe.gid}",
        "working_dir": recipe.folder,
        "labels": labels_of(
            placement.run.run_id, placement.folder, recipe.folder, outlives=not placement.dies_with_parent
        ),
        "mem_limit": MEMORY,
        "memswap_limit": MEMORY,
        "pids_limit": PIDS,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "healthcheck": {"test": ["NONE"]},  # the image's own runs every 15 s for nothing: we ask over HTTP
        "init": False,
        **({"network_mode": "host"} if recipe.host_network else {}),
    }


def create_and_start(recipe: Recipe, placement: Placement, address: str, port: int) -> Any:
    """Create a container, copy its files in and start it; return testcontainers' object. A failure leaves nothing."""
    from testcontainers.core.container import DockerContainer

    class Container(DockerContainer):
        def _transfer_into_container(self, transferable: Any, destination_in_container: str, mode: int) -> None:
            # testcontainers would pack each file anew, owned by root; the server's user could not write beside it.
            self.get_wrapped_container().put_archive("/", transferable)

    container = Container(recipe.image, docker_client_kw={"timeout": placement.engine.client.api.timeout})
    container.with_envs(**recipe.env).with_command(recipe.command)
    ports: dict[str, Any] = container.ports
    if not recipe.host_network:
        ports[f"{recipe.port}/tcp"] = (address, port)  # docker-py takes an address too; testcontainers cannot pass one
    container.with_copy_into_container(pack(recipe.folder, recipe.files, uid=recipe.uid, gid=recipe.gid), "/")
    container.with_kwargs(**create_options(recipe, placement))
    try:
        asking("starting a container", container.start)
    except BaseException:
        with suppress(Exception):
            container.stop()
        raise
    return container
