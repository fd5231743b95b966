"""`compose up|down`: the long-lived stack, with any installed compose command."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from greenroom.bot_process import BOT_LOCALPART, OUR_READY_LINE
from greenroom.commands.compose.files import BOT_USER, PROFILES, VARIABLES_FILE, Stack, write_files
from greenroom.commands.dev.console import Console
from greenroom.commands.dev.folder import DevFolder
from greenroom.commands.dev.options import parse_port
from greenroom.commands.images.catalog import IMAGES, checkout
from greenroom.errors import HarnessError, MatrixRefused, Misuse, NotMet, StartFailed, Unavailable
from greenroom.homeserver.container.engine import Engine, asking, connect
from greenroom.homeserver.container.image import is_present, present_image
from greenroom.homeserver.container.log import started_at
from greenroom.homeserver.external import ExternalHomeserver
from greenroom.homeserver.interface import Registration
from greenroom.homeserver.ready import wait_until_ready
from greenroom.homeserver.settings import SERVER_NAME
from greenroom.homeserver.synapse import SYNAPSE
from greenroom.people.accounts import Account, register
from greenroom.seed import seed as seed_server
from greenroom.seed.blueprint import Blueprint
from greenroom.seed.load import load_blueprint
from greenroom.spelling import command
from greenroom.waiting import until

START_OVER = "compose down --volumes"
READY_TIMEOUT_S = 120.0
POLL_S = 0.5


def act(action: str, *, profiles: Sequence[str], port: str, seed: str, volumes: bool) -> int:
    """Carry out the task `compose`. Return the exit code."""
    folder = DevFolder.find()
    if action == "up":
        return up(folder, port=parse_port(port) or 8008, profiles=profiles, seed=seed)
    if action == "down":
        return down(folder, volumes=volumes)
    raise Misuse(f"the action must be up or down, not {action!r}")


def up(
    folder: DevFolder, *, port: int = 8008, profiles: Sequence[str] = (), seed: str = "", console: Console | None = None
) -> int:
    """Start the stack, and wait until its bot is live. Return the exit code."""
    if unknown := set(profiles) - set(PROFILES):
        raise Misuse(f"no such profile: {', '.join(sorted(unknown))}; there are {', '.join(PROFILES)}")
    console = console or Console()
    blueprint = blueprint_for_stack(seed) if seed else None
    folder.prepare()
    stack = Stack(folder.root / "compose", port, tuple(profiles))
    program = compose_command()
    engine = connect()
    try:
        if engine.is_remote:
            raise Unavailable("the stack", "a remote engine cannot mount its files", "an engine on this machine")
        images = find_images(engine, profiles)
        rootless = "rootless" in str(
            asking("asking the engine about itself", engine.client.info).get("SecurityOptions")
        )
        write_files(stack, images, rootless=rootless)
        asyncio.run(Runner(engine, program, stack, folder.project, console).bring_up(blueprint))
    finally:
        engine.close()
    return 0


def down(folder: DevFolder, *, volumes: bool = False, console: Console | None = None) -> int:
    """Stop the stack. With `volumes`, delete its data too. Return the exit code."""
    console = console or Console()
    stack = Stack(folder.root / "compose", profiles=PROFILES)
    if not (stack.folder / VARIABLES_FILE).exists():
        console.say("this checkout has no stack")
        return 0
    arguments = ["down", "--remove-orphans", *(["--volumes"] if volumes else [])]
    run_compose([*compose_line(compose_command(), stack, folder.project), *arguments])
    if volumes:
        shutil.rmtree(stack.folder, ignore_errors=True)
        console.say("stack stopped; its data is deleted")
    else:
        where = f"{stack.folder} and two volumes"
        console.say(f"stack stopped; its data stays in {where} (to delete it: {command(START_OVER)})")
    return 0


class Runner:
    """One `compose up`."""

    def __init__(self, engine: Engine, program: list[str], stack: Stack, project: Path, console: Console) -> None:
        self._engine = engine
        self._line = compose_line(program, stack, project)
        self._stack = stack
        self._name = project_name(project)
        self._console = console

    async def bring_up(self, blueprint: Blueprint | None) -> None:
        """Start the services one after another. Each waits until the one that it needs is ready."""
        if "postgres" in self._stack.profiles:
            self._start("postgres")
            await self._until("postgres", self._is_healthy)
        self._start("homeserver")
        people = await self._furnish(blueprint)
        self._start("bot", *(["web"] if "web" in self._stack.profiles else []))
        await self._until("bot", self._is_live)
        self._console.say(f"bot: live, {BOT_USER}")
        if people:
            self._console.people((person.user_id, person.password) for person in people)
        self._console.say(f"stack: {self._stack.url}, server name {SERVER_NAME}; stop it: {command('compose down')}")

    def _start(self, *services: str) -> None:
        run_compose([*self._line, "up", "--detach", "--no-build", "--no-deps", *services])

    async def _furnish(self, blueprint: Blueprint | None) -> tuple[Account, ...]:
        """Register the bot and apply the blueprint. Return the blueprint's people."""
        try:
            await wait_until_ready(lambda: self._stack.url, lambda: self._alive("homeserver"), READY_TIMEOUT_S)
        except TimeoutError as error:
            raise self._failed("homeserver", str(error)) from None
        self._console.say(f"homeserver: ready at {self._stack.url}")
        secret = self._stack.secrets().registration_shared_secret
        registration = Registration(SYNAPSE.registration, secret)
        server = ExternalHomeserver(self._stack.url, SERVER_NAME, registration=registration)
        try:
            await register(server, BOT_LOCALPART, self._stack.bot_password)
        except MatrixRefused as error:
            if error.errcode != "M_USER_IN_USE":
                raise
        if blueprint is None:
            return ()
        seeded = await seed_server(server, blueprint, start_over=START_OVER)
        for line in (f"seed: {blueprint.name}, {seeded.steps_done} steps", *blueprint.warnings()):
            self._console.say(line)
        return seeded.people

    async def _until(self, service: str, reached: Callable[[Any], bool]) -> None:
        def ready() -> bool:
            return reached(self._alive(service))

        try:
            await until(ready, service, timeout_s=READY_TIMEOUT_S, every_s=POLL_S)
        except NotMet as error:
            raise self._failed(service, f"not ready within {error.waited_s:.0f} s") from None

    def _is_healthy(self, container: Any) -> bool:
        return bool((container.attrs["State"].get("Health") or {}).get("Status") == "healthy")

    def _is_live(self, container: Any) -> bool:
        logs = asking("reading the bot's log", lambda: container.logs(since=started_at(container)))
        return OUR_READY_LINE in logs.decode(errors="replace")

    def _alive(self, service: str) -> Any:
        """Return the container of a service. Raises StartFailed if it has ended."""
        container = self._container(service)
        state: dict[str, Any] = container.attrs["State"]
        if state.get("Status") in ("exited", "dead") or state.get("Restarting"):
            raise self._failed(service, f"ended with exit code {state.get('ExitCode')}")
        return container

    def _container(self, service: str) -> Any:
        labels = [f"com.docker.compose.project={self._name}", f"com.docker.compose.service={service}"]
        client = self._engine.client
        found = asking("listing containers", lambda: client.containers.list(all=True, filters={"label": labels}))
        if not found:
            raise StartFailed(service, "it has no container")
        return found[0]

    def _failed(self, service: str, problem: str) -> StartFailed:
        tail: list[str] = []
        with suppress(Exception):
            tail = self._container(service).logs(tail=15).decode(errors="replace").splitlines()
        return StartFailed(service, problem, tail=tail, hint=command("compose down"))


def blueprint_for_stack(name: str) -> Blueprint:
    """Load a blueprint. Raises Misuse if it fixes the bot's password: the bot's container has the derived one."""
    blueprint = load_blueprint(name)
    if any(person.password and person.name == BOT_LOCALPART for person in blueprint.people):
        raise Misuse(f"{name}: the stack's bot has a password of its own; leave the bot's out of the blueprint")
    return blueprint


def find_images(engine: Engine, profiles: Sequence[str]) -> dict[str, str]:
    """Return the image of each service. Raises Unavailable, with a fix, if the engine lacks one of ours."""
    found = {"synapse": present_image(engine, SYNAPSE), "bot": _ours(engine, "bot")}
    if "postgres" in profiles:
        found["postgres"] = _ours(engine, "postgres")
    return found


def _ours(engine: Engine, name: str) -> str:
    image = IMAGES[name]
    official = image.base if name == "postgres" else ""  # the bot's base image contains no bot
    for candidate in (os.environ.get(f"GREENROOM_{name.upper()}_IMAGE", ""), image.tag, official):
        if candidate and is_present(engine, candidate):
            return candidate
    raise Unavailable(f"the {name} of the stack", f"the engine has no image {image.tag}", command(f"image {name}"))


def compose_command() -> list[str]:
    """Return a compose command. Raises Unavailable if none is installed."""
    if shutil.which("docker"):
        answer = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
        if answer.returncode == 0:
            return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    raise Unavailable(
        "the stack", "neither `docker compose` nor docker-compose is installed", "install Docker's compose plugin"
    )


def project_name(project: Path) -> str:
    """Return the name of a checkout's stack. Each checkout has its own."""
    return f"greenroom-{hashlib.sha256(str(project).encode()).hexdigest()[:8]}"


def compose_line(program: list[str], stack: Stack, project: Path) -> list[str]:
    """Return the beginning of a compose command line for a stack."""
    line = [*program, "--project-name", project_name(project), "--file", str(checkout() / "compose" / "compose.yaml")]
    line += ["--env-file", str(stack.folder / VARIABLES_FILE)]
    for profile in stack.profiles:
        line += ["--profile", profile]
    return line


def run_compose(line: Sequence[str]) -> str:
    """Run compose. Return its output. Raises HarnessError with its last lines."""
    # Variables of the shell override the rendered file, and could name another folder or password.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GREENROOM_")}
    ended = subprocess.run(line, capture_output=True, text=True, check=False, env=environment)
    if ended.returncode != 0:
        last = [text for text in ended.stderr.strip().splitlines() if text.strip()][-3:]
        raise HarnessError("compose failed: " + " / ".join(last))
    return ended.stdout
