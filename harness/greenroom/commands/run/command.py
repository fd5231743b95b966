"""`greenroom run`: give any program a throwaway homeserver, and end as that program ends."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from greenroom.commands.run.failure import causes_of, told
from greenroom.commands.run.people import names_of, settle
from greenroom.commands.run.program import Program, check_exists, command_of
from greenroom.commands.run.variables import Scene, check_names, environment
from greenroom.errors import HarnessError, Misuse, NotStarted
from greenroom.evidence import FAILURES
from greenroom.evidence.bundle import kept_paths, write_bundle
from greenroom.faults import fault_proxy
from greenroom.faults.manners import parse_manners
from greenroom.homeserver import HomeserverSettings
from greenroom.homeserver.choose import parse_backend
from greenroom.homeserver.kind import find_kind
from greenroom.http_interface import Rehearsal, interface
from greenroom.seed.blueprint import Blueprint
from greenroom.seed.load import load_blueprint
from greenroom.session import Session
from greenroom.spelling import command as spelled

PASSED_ON = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class RunOptions:
    """The checked options of `run`."""

    argv: tuple[str, ...]  # of the command
    typed: str  # the whole command line, without the name of this program
    names: tuple[str, ...]  # of the people beside those of the blueprint
    blueprint: Blueprint | None
    manners: tuple[str, ...]
    homeserver: str
    backend: str
    keep: bool
    http: bool

    @classmethod
    def parse(
        cls,
        typed: Sequence[str],
        *,
        persons: Sequence[str],
        seed: str,
        manners: str,
        homeserver: str,
        backend: str,
        keep: bool,
        http: bool,
    ) -> RunOptions:
        """Check the command line `typed`, and what invoke has read in it. Raises Misuse."""
        argv = command_of(typed)
        check_exists(argv)
        find_kind(homeserver)
        blueprint = load_blueprint(seed) if seed else None
        names = names_of(persons, blueprint)
        check_names([*names, *(person.name for person in (blueprint.people if blueprint else ()))])
        return cls(
            argv=argv,
            typed=shlex.join(typed[1:]),
            names=names,
            blueprint=blueprint,
            manners=parse_manners(manners),
            homeserver=homeserver,
            backend=parse_backend(backend),
            keep=keep,
            http=http,
        )


def run_command(options: RunOptions) -> int:
    """Run the command to its end. Return its exit code. Raises NotStarted if it cannot be given its homeserver."""
    return asyncio.run(_until_signalled(options))


async def _until_signalled(options: RunOptions) -> int:
    program = Program(options.argv)
    work = asyncio.ensure_future(_run(options, program))
    stopped_by: list[signal.Signals] = []

    def take(number: signal.Signals) -> None:
        if program.spawned:
            program.pass_on(number)
        elif not stopped_by:
            stopped_by.append(number)
            work.cancel()

    loop = asyncio.get_running_loop()
    for number in PASSED_ON:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` asks
            loop.add_signal_handler(number, take, number)
    try:
        return await work
    except asyncio.CancelledError:
        say("stopped before the command began; nothing is left running")
        return 128 + (stopped_by[0] if stopped_by else signal.SIGINT)


async def _run(options: RunOptions, program: Program) -> int:
    bundles = FAILURES / time.strftime("%Y%m%d-%H%M%S")
    try:
        session = Session.begin(options.homeserver, options.backend)
    except Misuse:
        raise
    except HarnessError as error:
        raise NotStarted(str(error)) from error
    try:
        session.begin_record(f"run {Path(options.argv[0]).name}")
        try:
            async with _scene(session, options, bundles) as (scene, rehearsal):
                file = session.run.new_folder("run") / "greenroom.json"
                scene.write(file)
                program.spawn(environment(scene.variables(file), os.environ), session.run)
                code = await program.ended()
                if code or options.keep:
                    causes = causes_of(rehearsal) if code else []
                    verdict = f"exit code {code}\n\n{shlex.join(options.argv)}"
                    again = spelled(options.typed)
                    bundle = write_bundle(bundles, session.record, verdict, again=again, causes=causes, passed=not code)
                    say(told(options.argv, code, causes, bundle))
                return code
        except Misuse:
            raise
        except HarnessError as error:
            if program.spawned:
                raise
            bundle = write_bundle(bundles, session.record, str(error), error)
            raise NotStarted(f"{kept_paths(str(error), session.record, bundle)}\n  bundle: {bundle}") from error
    finally:
        session.close()


@asynccontextmanager
async def _scene(session: Session, options: RunOptions, bundles: Path) -> AsyncIterator[tuple[Scene, Rehearsal]]:
    """Start the homeserver with two proxies, and make the people. Everything ends with the block."""
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        settings = HomeserverSettings(manners=options.manners)
        server = await stack.enter_async_context(session.homeserver(settings, blueprint=options.blueprint))
        faulty, clear = [await stack.enter_async_context(fault_proxy(server)) for _ in range(2)]
        session.record.transcripts += [faulty.transcript, clear.transcript]
        peopled = await settle(server, options.names)
        for person in peopled.people:
            session.record.note_account(person)
        rehearsal = Rehearsal(session, stack, server, faulty, clear, bundles)
        rehearsal.add_people(peopled.people)
        seed = options.blueprint.name if options.blueprint else ""
        scene = Scene(server, faulty.url, clear.url, peopled.people, peopled.rooms, seed)
        choice = session.choice
        took = f"ready after {time.monotonic() - began:.1f} s"
        say(f"{choice.kind} on backend {choice.backend} ({choice.why}), {took}")
        if not options.http:
            yield scene, rehearsal
            return
        async with interface(rehearsal) as served:  # it ends before the bots that it has started
            yield replace(scene, interface=served.variables), rehearsal


def say(text: str) -> None:
    """Print to the standard error: the standard output is the command's."""
    print(f"greenroom: {text}", file=sys.stderr, flush=True)
