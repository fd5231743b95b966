"""Find the container engine as testcontainers does. Where none answers, the error is one clear sentence.

`DOCKER_HOST`, `~/.testcontainers.properties` and Docker contexts are honoured, in that order. Podman's and rootless
Docker's sockets speak the same interface: name them in `DOCKER_HOST` (for instance
`unix:///run/user/1000/podman/podman.sock`). `docker` is imported when an engine is first used, because the import
takes a fifth of a second.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlparse

from greenroom.errors import HarnessError, Unavailable

T = TypeVar("T")
PUBLISH = "GREENROOM_PUBLISH_ADDRESS"
LOOPBACK = "127.0.0.1"
DEFAULT_SOCKETS = (Path("/var/run/docker.sock"), Path("/run/docker.sock"))
PROBE_TIMEOUT_S = 5.0  # an engine that answers later is as good as absent
CALL_TIMEOUT_S = 60.0
CURE = "start Docker (or name another engine in DOCKER_HOST), or use --backend process"


class EngineError(HarnessError):
    """The engine refused a request, or stopped answering."""


@dataclass(frozen=True)
class Engine:
    """An engine that has answered. `client` is docker-py's."""

    client: Any
    url: str  # as DOCKER_HOST would name it; empty: the default socket
    host: str  # the machine it runs on, as seen from here; empty: this one

    @property
    def is_remote(self) -> bool:
        """Return whether the engine runs on another machine, whose loopback we cannot reach."""
        return self.host not in ("", "localhost", LOOPBACK, "::1")

    def close(self) -> None:
        """Close its connections."""
        self.client.close()


def engine_url(environ: Mapping[str, str] = os.environ) -> str:
    """Return where the engine listens; empty for the default socket."""
    if environ.get("DOCKER_HOST"):
        return environ["DOCKER_HOST"]
    if (
        not (Path.home() / ".docker" / "config.json").exists()
        and not (Path.home() / ".testcontainers.properties").exists()
    ):
        return ""  # no context and no properties: spare the import
    from testcontainers.core.docker_client import get_docker_host

    return str(get_docker_host() or "")


def connect(url: str | None = None) -> Engine:
    """Connect to the engine. Raises Unavailable, with the reason and a cure, unless the engine answers at once."""
    url = engine_url() if url is None else url
    if not url and not any(path.exists() for path in DEFAULT_SOCKETS):
        raise Unavailable("a container engine", f"there is no {DEFAULT_SOCKETS[0]}", CURE)
    try:
        _knock(url or f"unix://{DEFAULT_SOCKETS[0]}")
    except OSError as error:
        raise Unavailable("a container engine", f"{url or DEFAULT_SOCKETS[0]}: {reason(error)}", CURE) from None
    import docker

    client = None
    try:
        client = _client(docker, url)
        client.ping()
        client.api.timeout = CALL_TIMEOUT_S
    except Exception as error:  # docker-py lets requests', urllib3's and its own errors through
        if client is not None:
            client.close()
        raise Unavailable("a container engine", f"{url or DEFAULT_SOCKETS[0]}: {reason(error)}", CURE) from None
    return Engine(client, url, urlparse(url).hostname or "")


def _knock(url: str) -> None:
    """Check that the engine listens, without docker-py, which leaves half-open clients behind. Raises OSError."""
    parts = urlparse(url)
    if parts.scheme == "unix":
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(PROBE_TIMEOUT_S)
            probe.connect(parts.path)
    elif parts.scheme in ("tcp", "http", "https") and parts.hostname and parts.port:
        socket.create_connection((parts.hostname, parts.port), timeout=PROBE_TIMEOUT_S).close()


def _client(docker: Any, url: str) -> Any:
    options: dict[str, Any] = {"timeout": PROBE_TIMEOUT_S, "version": "auto"}
    if url.startswith("ssh://"):
        options["use_ssh_client"] = True  # the ssh command: it knows the person's keys and configuration
    if not url:
        return docker.from_env(**options)
    return docker.from_env(environment={**os.environ, "DOCKER_HOST": url}, **options)


def publish_address(engine: Engine, environ: Mapping[str, str] = os.environ) -> str:
    """Return the address of the engine's machine on which homeservers listen: GREENROOM_PUBLISH_ADDRESS, else loopback.

    Raises Unavailable for a remote engine if GREENROOM_PUBLISH_ADDRESS is not set: its loopback cannot be reached, and
    a throwaway homeserver has no limits, so it must not be open to a network by accident.
    """
    if address := environ.get(PUBLISH):
        return address
    if engine.is_remote:
        raise Unavailable(
            f"a homeserver on the engine at {engine.host}",
            "its loopback cannot be reached from here",
            f"set {PUBLISH} to an address of that machine on a network you trust",
        )
    return LOOPBACK


def asking(what: str, ask: Callable[[], T]) -> T:
    """Call the engine. Raises EngineError, in one sentence, for every error that docker-py raises."""
    import docker.errors
    import requests

    try:
        return ask()
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        raise EngineError(f"{what}: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """Return the innermost cause of an error that docker-py, requests and urllib3 have wrapped, in one sentence."""
    explanation = getattr(error, "explanation", None)
    if explanation:
        return str(explanation).strip()
    inner = _innermost(error)
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror
    return str(inner).strip() or type(inner).__name__


def _innermost(error: BaseException) -> BaseException:
    seen = {id(error)}
    while True:
        inner: BaseException | None = error.__cause__ or error.__context__
        if inner is None:
            with suppress(IndexError):
                inner = next((arg for arg in error.args if isinstance(arg, BaseException)), None)
        if inner is None or id(inner) in seen:
            return error
        seen.add(id(inner))
        error = inner
