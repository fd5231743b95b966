"""The tasks: a docstring and one call each. Each task imports what it needs when it runs, so `--list` stays quick."""

from __future__ import annotations

from typing import Any

from invoke.collection import Collection
from invoke.tasks import task

from greenroom.commands.invoke_fixes import fix_invoke
from greenroom.commands.reporting import reported

PARTS_ARE_OPTIONAL = dict.fromkeys(("start", "stop", "restart", "compose"), "")
NAMES_ARE_OPTIONAL = dict.fromkeys(("snapshot", "restore"), "")  # without one they say what there is
fix_invoke(
    optional={
        "seed": "qa",
        "logs": "",
        "image": "synapse",
        "bench": "",
        "show": "",
        **PARTS_ARE_OPTIONAL,
        **NAMES_ARE_OPTIONAL,
    }
)


@task(
    auto_shortflags=False,
    iterable=["set"],
    help={
        "homeserver": "kind of homeserver (default: synapse)",
        "backend": "auto, container or process",
        "seed": "blueprint for a new homeserver: a packaged name or the path of a .yaml file",
        "set": "value of a variable of the blueprint, e.g. rooms=500; give it once for each",
        "port": "port of the homeserver (default: a free one, the same in later runs)",
        "detach": "return when the bot is live, and leave everything running",
        "fresh": "delete the homeserver's data and the bot's state of earlier runs first; passwords and URL stay",
        "watch": "restart the bot when a Python file changes",
        "homeserver-log": "show the homeserver's whole log (default: its warnings and errors)",
        "bot": "command line of your bot, e.g. 'python my_bot.py' (default: the reference bot)",
        "stage": "serve a page to be a person, see the bot and break it (needs the extra stage)",
    },
)
@reported
def dev(
    context: Any,
    homeserver: str = "synapse",
    backend: str = "auto",
    seed: str = "qa",
    set: list[str] | None = None,
    port: str = "",
    detach: bool = False,
    fresh: bool = False,
    watch: bool = False,
    homeserver_log: bool = False,
    bot: str | None = None,
    stage: bool = False,
) -> int:
    """Start a homeserver with QA rooms and a bot, and show what they do; Ctrl-C stops everything."""
    from greenroom.homeserver.choose import choose

    choice = choose(homeserver, backend)
    with choice.begun_ahead():
        from greenroom.commands.dev.folder import DevFolder
        from greenroom.commands.dev.options import DevOptions
        from greenroom.commands.dev.up import run_dev

        options = DevOptions.parse(
            choice=choice,
            seed=seed,
            settings=set or [],
            port=port,
            detach=detach,
            fresh=fresh,
            watch=watch,
            homeserver_log=homeserver_log,
            bot=bot,
            stage=stage,
        )
        return run_dev(DevFolder.find(), options)


@task(
    auto_shortflags=False,
    help={"all": "also remove what killed runs left on this machine", "dry-run": "print what would be stopped"},
)
@reported
def down(context: Any, all: bool = False, dry_run: bool = False) -> int:
    """Stop everything that runs for this project."""
    from greenroom.commands.dev.folder import DevFolder
    from greenroom.commands.dev.owner import down

    return down(DevFolder.find(), everything=all, dry_run=dry_run)


@task(
    auto_shortflags=False,
    positional=["name"],
    iterable=["set"],
    help={
        "name": "a packaged name or the path of a .yaml file",
        "set": "value of a variable of the blueprint, e.g. rooms=500; give it once for each",
        "dry-run": "print the plan and change nothing",
    },
)
@reported
def seed(context: Any, name: str, set: list[str] | None = None, dry_run: bool = False) -> int:
    """Apply a blueprint (default: qa) to the running dev homeserver; a second run changes nothing."""
    from greenroom.commands.dev.folder import DevFolder
    from greenroom.commands.dev.tools import seed_dev

    return seed_dev(DevFolder.find(), name, set or [], dry_run=dry_run)


@task(auto_shortflags=False, help={"of": "blueprints (default) or promises"})
@reported
def schema(context: Any, of: str = "blueprints") -> int:
    """Print the JSON Schema of blueprints, or of promises files, for editors."""
    from greenroom.errors import Misuse
    from greenroom.scenarios.promises import promises_schema
    from greenroom.seed.blueprint import schema_text

    schemas = {"blueprints": schema_text, "promises": promises_schema}
    if of not in schemas:
        raise Misuse(f"--of must be {' or '.join(schemas)}, not {of!r}")
    print(schemas[of]())
    return 0


@task(auto_shortflags=False, help={"json": "print one JSON object"})
@reported
def status(context: Any, json: bool = False) -> int:
    """Print what runs, who can log in, and the drift, read-only: exit 0 in step, 1 drift or no bot, 3 cannot tell."""
    from greenroom.commands.dev.folder import DevFolder
    from greenroom.commands.dev.status import status

    return status(DevFolder.find(), as_json=json)


@task(auto_shortflags=False, positional=["part"], help={"part": "homeserver or bot (default: both)"})
@reported
def start(context: Any, part: str) -> int:
    """Start a stopped part of the dev environment, or all of them."""
    return _control("start", part)


@task(auto_shortflags=False, positional=["part"], help={"part": "homeserver or bot (default: both)"})
@reported
def stop(context: Any, part: str) -> int:
    """Stop a part of the dev environment, or all of them; what they know is kept."""
    return _control("stop", part)


@task(auto_shortflags=False, positional=["part"], help={"part": "homeserver or bot (default: both)"})
@reported
def restart(context: Any, part: str) -> int:
    """Restart a part of the dev environment, or all of them."""
    return _control("restart", part)


@task(
    auto_shortflags=False,
    positional=["name"],
    help={
        "name": "name of the snapshot, for instance before",
        "force": "replace the snapshot of that name",
        "list": "print name, time, size and blueprint of each",
        "prune": "remove the seeds kept for later homeservers and what interrupted commands left; no named one",
    },
)
@reported
def snapshot(context: Any, name: str, force: bool = False, list: bool = False, prune: bool = False) -> int:
    """Keep the whole dev state, server and bot, under a name; what runs stops for a moment."""
    from greenroom.commands.dev.folder import DevFolder
    from greenroom.commands.dev.snapshots.command import snapshot

    return snapshot(DevFolder.find(), name, force=force, list_them=list, prune=prune)


@task(auto_shortflags=False, positional=["name"], help={"name": "name of a snapshot (`snapshot --list`)"})
@reported
def restore(context: Any, name: str) -> int:
    """Put the whole dev state, server and bot, back to a snapshot; the state of now is lost."""
    from greenroom.commands.dev.folder import DevFolder
    from greenroom.commands.dev.snapshots.command import restore

    return restore(DevFolder.find(), name)


@task(
    auto_shortflags=False,
    help={
        "local": "delete the bot's local state (the default)",
        "server": "the bot account leaves and forgets its rooms",
        "dry-run": "print the plan and change nothing",
        "yes": "do not ask",
        "json": "print the summary as JSON",
    },
)
@reported
def reset(
    context: Any,
    local: bool = False,
    server: bool = False,
    dry_run: bool = False,
    yes: bool = False,
    json: bool = False,
) -> int:
    """Reset the dev bot: its local state (the default), its rooms with --server, or both (server first)."""
    from greenroom.commands.dev.folder import DevFolder
    from greenroom.commands.dev.tools import reset

    return reset(DevFolder.find(), local=local, server=server, dry_run=dry_run, yes=yes, as_json=json)


@task(
    auto_shortflags=False,
    positional=["which"],
    help={"which": "homeserver or bot (default: both)", "follow": "print new lines until Ctrl-C"},
)
@reported
def logs(context: Any, which: str, follow: bool = False) -> int:
    """Print the log of the dev homeserver, of the bot, or of both."""
    from greenroom.commands.dev.folder import DevFolder
    from greenroom.commands.dev.tools import show_logs

    return show_logs(DevFolder.find(), which, follow=follow)


@task
@reported
def doctor(context: Any) -> int:
    """Check this machine and suggest a fix for each problem."""
    from greenroom.commands.doctor import doctor

    return doctor()


@task(auto_shortflags=False, help={"args": "arguments for pytest"})
@reported
def test(context: Any, args: str = "") -> int:  # noqa: PT028 - a task, not a test
    """Run pytest here: in a checkout, every test that this machine can run."""
    return _run_tool("pytest", args)


@task(
    auto_shortflags=False,
    help={
        "backend": "auto, container or process",
        "homeserver": "kind of homeserver (default: synapse)",
        "args": "arguments for pytest",
    },
)
@reported
def e2e(context: Any, backend: str = "auto", homeserver: str = "synapse", args: str = "") -> int:
    """Run the tests that need a real homeserver (marker e2e)."""
    return _run_tool("pytest", f"-m e2e --greenroom-backend {backend} --greenroom-homeserver {homeserver} {args}")


@task(
    auto_shortflags=False,
    positional=["name"],
    help={
        "name": "synapse (default), bot, postgres or all",
        "base": "base image with python3 and venv (default: python from the registry, else Debian by debootstrap)",
        "force": "build even if an image from the same inputs exists",
    },
)
@reported
def image(context: Any, name: str, base: str = "", force: bool = False) -> int:
    """Build a container image; without a registry, build its Debian base too."""
    from greenroom.commands.images.command import build_images

    return build_images([name], base=base, force=force)


@task(
    auto_shortflags=False,
    positional=["action", "part"],
    iterable=["profile"],
    help={
        "action": "up, down, status, start, stop or restart",
        "part": "with start, stop and restart: homeserver or bot (default: all)",
        "profile": "postgres (Synapse on PostgreSQL) or web (Element Web); give it twice for both",
        "port": "the homeserver's port (default: 8008)",
        "seed": "blueprint to apply: a packaged name or the path of a .yaml file",
        "volumes": "with down: delete the data of the stack too",
        "json": "with status: print one JSON object",
    },
)
@reported
def compose(
    context: Any,
    action: str,
    part: str,
    profile: list[str] | None = None,
    port: str = "8008",
    seed: str = "",
    volumes: bool = False,
    json: bool = False,
) -> int:
    """Run the long-lived stack of homeserver and bot; status: exit 0 it runs, 1 a part does not, 3 nothing runs."""
    from greenroom.commands.compose.command import ComposeOptions, act

    options = ComposeOptions.parse(
        action, part, profiles=profile or [], port=port, seed=seed, volumes=volumes, as_json=json
    )
    return act(options)


@task(
    auto_shortflags=False,
    positional=["name"],
    help={
        "name": "dev, memory, reconcile, reset, restore, seed, start or warm (default: all)",
        "args": "arguments for that benchmark",
    },
)
@reported
def bench(context: Any, name: str, args: str = "") -> int:
    """Measure Greenroom and the same work written by hand, side by side: exit 1 a target is missed, 3 no result."""
    from greenroom.commands.benchmarks import run_benchmarks

    return run_benchmarks(name, args)


@task(
    auto_shortflags=False,
    help={
        "bot": "command line of your bot, e.g. 'python my_bot.py'",
        "promises": "YAML file with the bot's command and promises (instead of --bot)",
        "ask": "question to the bot; {word} is a different word each time (default: {word})",
        "answer": "text that the bot's answer contains (default: {word})",
        "encrypted": "the bot talks in encrypted rooms (a promises file says so itself)",
        "only": "scenarios to run, separated by commas (default: all)",
        "jobs": "number of scenarios that run at the same time; the bot must promise `several: yes`",
        "room-version": "room versions to run on, for instance 11,12 (default: the homeserver's)",
        "manners": "manners of another homeserver, for instance conduit or strict (default: none; docs/manners.md)",
        "write": "new YAML file for what the bot does, as promises with comments",
        "keep": "keep the record of each scenario, also of those that pass",
        "report": "folder for the report: a table to look at (index.html) and the picture of each scenario",
        "again": "folder of kept records: judge them again, and run nothing",
        "homeserver": "kind of homeserver (default: synapse)",
        "backend": "auto, container or process",
    },
)
@reported
def scenarios(
    context: Any,
    bot: str = "",
    promises: str = "",
    ask: str = "",
    answer: str = "",
    encrypted: bool = False,
    only: str = "",
    jobs: str = "1",
    room_version: str = "",
    manners: str = "",
    write: str = "",
    keep: bool = False,
    report: str = "",
    again: str = "",
    homeserver: str = "synapse",
    backend: str = "auto",
) -> int:
    """Run a bot through restarts, kicks, lost replies and rate limits: exit 0 kept, 1 broken, 3 inconclusive."""
    from greenroom.scenarios.command import Options, scenarios

    given = {name: value for name, value in locals().items() if name in Options.__dataclass_fields__}
    return scenarios(Options(**given))


@task(
    auto_shortflags=False,
    positional=["bundle"],
    help={"bundle": "a failure bundle, or the folder of a scenarios run (default: the newest in .greenroom/failures)"},
)
@reported
def show(context: Any, bundle: str) -> int:
    """Open a failure bundle as a page in the browser: what happened, as a picture in time."""
    from greenroom.commands.show import show

    return show(bundle)


@task(
    auto_shortflags=False,
    iterable=["person"],
    help={
        "person": "name of an account to make; give it once for each (default without --seed: alice, bob and bot)",
        "seed": "blueprint to apply: a packaged name or the path of a .yaml file",
        "manners": "manners of another homeserver, for instance conduit or strict (default: none; docs/manners.md)",
        "homeserver": "kind of homeserver (default: synapse)",
        "backend": "auto, container or process",
        "keep": "leave a bundle even if the command succeeds",
        "http": "serve bots, faults and the homeserver to the command over HTTP (docs/openapi.json)",
    },
)
@reported
def run(
    context: Any,
    person: list[str] | None = None,
    seed: str = "",
    manners: str = "",
    homeserver: str = "synapse",
    backend: str = "auto",
    keep: bool = False,
    http: bool = False,
) -> int:
    """Run the command behind `--` with a throwaway homeserver and people; end with its exit code."""
    import sys

    from greenroom.commands.run.command import RunOptions, run_command

    options = RunOptions.parse(
        sys.argv,
        persons=person or [],
        seed=seed,
        manners=manners,
        homeserver=homeserver,
        backend=backend,
        keep=keep,
        http=http,
    )
    return run_command(options)


@task
@reported
def lint(context: Any) -> int:
    """Check style and format with ruff."""
    return _run_tool("ruff", "check .") or _run_tool("ruff", "format --check .")


@task
@reported
def types(context: Any) -> int:
    """Check types with mypy."""
    return _run_tool("mypy", "")


def _control(action: str, part: str) -> int:
    from greenroom.commands.dev.control import control
    from greenroom.commands.dev.folder import DevFolder

    return control(DevFolder.find(), action, part)


def _run_tool(module: str, arguments: str) -> int:
    from greenroom.commands.reporting import run_tool

    return run_tool(module, arguments)


namespace = Collection(
    dev,
    down,
    seed,
    schema,
    status,
    start,
    stop,
    restart,
    snapshot,
    restore,
    reset,
    logs,
    doctor,
    test,
    e2e,
    scenarios,
    run,
    show,
    image,
    compose,
    bench,
    lint,
    types,
)
