"""`compose up` and `compose down`: the long-lived stack, with any installed compose command."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from greenroom.bot_process import BOT_LOCALPART
from greenroom.commands.compose.files import PROFILES, START_OVER, VARIABLES_FILE, Stack, write_files
from greenroom.commands.compose.parts import POSTGRES, WEB, Parts, started_line
from greenroom.commands.compose.record import Record, read_record
from greenroom.commands.compose.status import say_people
from greenroom.commands.dev.console import Console
from greenroom.commands.dev.folder import DevFolder
from greenroom.commands.dev.parts import BOT, HOMESERVER
from greenroom.commands.images.catalog import IMAGES, checkout
from greenroom.errors import HarnessError, Misuse, Unavailable
from greenroom.homeserver.container.engine import Engine, asking, connect
from greenroom.homeserver.container.image import is_present, present_image
from greenroom.homeserver.external import ExternalHomeserver
from greenroom.homeserver.interface import Registration
from greenroom.homeserver.settings import SERVER_NAME
from greenroom.homeserver.synapse import SYNAPSE
from greenroom.people.accounts import register_if_new
from greenroom.seed import seed as seed_server
from greenroom.seed.blueprint import Blueprint
from greenroom.seed.load import load_blueprint
from greenroom.spelling import command


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
        _down_without_files(project_name(folder.project), console, volumes=volumes)
        if volumes:
            shutil.rmtree(stack.folder, ignore_errors=True)  # the passwords of accounts that are gone
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


def _down_without_files(name: str, console: Console, *, volumes: bool) -> None:
    """Remove what the engine has of a stack whose files are gone: compose itself needs them."""
    try:
        engine = connect()
    except Unavailable:
        removed = 0
    else:
        try:
            removed = Parts(engine, name).remove(volumes=volumes)
        finally:
            engine.close()
    console.say(
        f"stack removed, {removed} containers; its files were gone" if removed else "this checkout has no stack"
    )


class Runner:
    """One `compose up`."""

    def __init__(self, engine: Engine, program: list[str], stack: Stack, project: Path, console: Console) -> None:
        self._parts = Parts(engine, project_name(project))
        self._line = compose_line(program, stack, project)
        self._stack = stack
        self._console = console

    async def bring_up(self, blueprint: Blueprint | None) -> None:
        """Start the services one after another. Each waits until the one that it needs is ready."""
        record = self._noted()
        record.write(self._stack.folder)  # so that `compose status` knows the URL of a stack that comes up half
        for service in (*((POSTGRES,) if POSTGRES in self._stack.profiles else ()), HOMESERVER):
            await self._start(service)
        await register_if_new(self._server, BOT_LOCALPART, self._stack.bot_password)
        if blueprint is not None:
            record = await self._seed(blueprint, record)
            record.write(self._stack.folder)
        if WEB in self._stack.profiles:
            await self._start(WEB)
        await self._start(BOT)
        say_people(self._console, record)
        shown = f"show this again: {command('compose status')}; stop it: {command('compose down')}"
        self._console.say(f"stack: {self._stack.url}, server name {SERVER_NAME}; {shown}")

    def _noted(self) -> Record:
        """Return the record of this `up`. The people of an earlier one stay: `down` keeps their accounts."""
        before = Record("")
        with suppress(HarnessError):  # a damaged record is written anew
            before = read_record(self._stack.folder) or before
        return replace(before, url=self._stack.url, profiles=self._stack.profiles)

    async def _start(self, service: str) -> None:
        run_compose([*self._line, "up", "--detach", "--no-build", "--no-deps", service])
        await self._parts.until_ready(service, self._stack.url)
        self._console.say(started_line(service, self._stack.url))

    @property
    def _server(self) -> ExternalHomeserver:
        secret = self._stack.secrets().registration_shared_secret
        registration = Registration(SYNAPSE.registration, secret)
        return ExternalHomeserver(self._stack.url, SERVER_NAME, registration=registration)

    async def _seed(self, blueprint: Blueprint, record: Record) -> Record:
        """Apply the blueprint. Return the record with its people."""
        progress = self._console.progress("seed")
        seeded = await seed_server(self._server, blueprint, on_progress=progress, start_over=START_OVER)
        for line in (f"seed: {blueprint.name}, {seeded.steps_done} steps", *blueprint.warnings()):
            self._console.say(line)
        return record.seeded(blueprint.name, seeded.people)


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
