"""The tasks: a docstring and one call each. Everything heavy is imported when a task runs, so `--list` stays quick."""

from __future__ import annotations

from typing import Any

from invoke.collection import Collection
from invoke.tasks import task

from greenroom.commands.invoke_fixes import fix_invoke
from greenroom.commands.reporting import reported

fix_invoke(optional={"seed": "qa", "logs": "", "image": "synapse", "bench": ""})


@task(
    auto_shortflags=False,
    help={
        "homeserver": "synapse or conduit",
        "backend": "auto, container or process",
        "seed": "blueprint to seed once: a packaged name or the path of a .yaml file",
        "port": "fixed port of the homeserver (default: a free one, kept between runs)",
        "detach": "return when the bot is live and leave everything running",
        "fresh": "forget the homeserver and the bot's state of earlier runs",
        "watch": "restart the bot when a Python file changes",
        "bot": "command line of another bot, e.g. 'python my_bot.py'",
    },
)
@reported
def dev(
    context: Any,
    homeserver: str = "synapse",
    backend: str = "auto",
    seed: str = "qa",
    port: str = "",
    detach: bool = False,
    fresh: bool = False,
    watch: bool = False,
    bot: str = "",
) -> int:
    """Start homeserver, QA rooms and bot; stream their logs; Ctrl-C stops all."""
    from greenroom.commands.dev.folder import DevFolder
    from greenroom.commands.dev.options import DevOptions
    from greenroom.commands.dev.up import run_dev

    options = DevOptions.parse(
        homeserver=homeserver, backend=backend, seed=seed, port=port, detach=detach, fresh=fresh, watch=watch, bot=bot
    )
    return run_dev(DevFolder.find(), options)


@task(
    auto_shortflags=False,
    help={"all": "also what killed runs of other folders left", "dry-run": "only say what would be stopped"},
)
@reported
def down(context: Any, all: bool = False, dry_run: bool = False) -> int:
    """Stop everything that belongs to this checkout."""
    from greenroom.commands.dev.down import down
    from greenroom.commands.dev.folder import DevFolder

    return down(DevFolder.find(), everything=all, dry_run=dry_run)


@task(auto_shortflags=False, positional=["name"], help={"name": "blueprint", "dry-run": "print the plan only"})
@reported
def seed(context: Any, name: str, dry_run: bool = False) -> int:
    """Apply a blueprint (default: qa) to the running dev homeserver; a second time changes nothing."""
    from greenroom.commands.dev.folder import DevFolder
    from greenroom.commands.dev.tools import seed_dev

    return seed_dev(DevFolder.find(), name, dry_run=dry_run)


@task(auto_shortflags=False, help={"json": "print one JSON object"})
@reported
def status(context: Any, json: bool = False) -> int:
    """Compare the bot's records with the server: exit 0 in step, 1 drift, 3 cannot tell."""
    from greenroom.commands.dev.folder import DevFolder
    from greenroom.commands.dev.tools import status

    return status(DevFolder.find(), as_json=json)


@task(
    auto_shortflags=False,
    help={
        "local": "delete the bot's local state (the default)",
        "server": "the bot account leaves and forgets its rooms",
        "dry-run": "print the plan, change nothing",
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


@task(auto_shortflags=False, positional=["which"], help={"which": "homeserver or bot", "follow": "go on until Ctrl-C"})
@reported
def logs(context: Any, which: str, follow: bool = False) -> int:
    """Print the log of the dev homeserver, the bot, or both."""
    from greenroom.commands.dev.folder import DevFolder
    from greenroom.commands.dev.tools import show_logs

    return show_logs(DevFolder.find(), which, follow=follow)


@task
@reported
def doctor(context: Any) -> int:
    """Say what this machine can do, each finding with a cure."""
    from greenroom.commands.doctor import doctor

    return doctor()


@task(auto_shortflags=False, help={"args": "more arguments for pytest"})
@reported
def test(context: Any, args: str = "") -> int:  # noqa: PT028 - a task, not a test
    """Run every test that this machine can run."""
    return _run_tool("pytest", args)


@task(
    auto_shortflags=False,
    help={"backend": "auto, container or process", "homeserver": "synapse or conduit", "args": "more for pytest"},
)
@reported
def e2e(context: Any, backend: str = "auto", homeserver: str = "synapse", args: str = "") -> int:
    """Run the end-to-end tests against a real homeserver."""
    return _run_tool("pytest", f"-m e2e --backend {backend} --homeserver {homeserver} {args}")


@task(
    auto_shortflags=False,
    positional=["name"],
    help={
        "name": "synapse (default), bot, postgres or all",
        "base": "base image with python3 and venv (default: Python's own, or Debian made with debootstrap)",
        "force": "build even if an image from the same inputs is here",
    },
)
@reported
def image(context: Any, name: str, base: str = "", force: bool = False) -> int:
    """Build an image of ours; without a registry its Debian base is made here."""
    from greenroom.commands.images.command import build_images

    return build_images([name], base=base, force=force)


@task(
    auto_shortflags=False,
    positional=["action"],
    iterable=["profile"],
    help={
        "action": "up or down",
        "profile": "postgres (Synapse on PostgreSQL) or web (Element Web); more than once for both",
        "port": "the homeserver's port (default: 8008)",
        "seed": "blueprint to apply: a packaged name or the path of a .yaml file",
        "volumes": "down: delete the stack's data too",
    },
)
@reported
def compose(
    context: Any,
    action: str,
    profile: list[str] | None = None,
    port: str = "8008",
    seed: str = "",
    volumes: bool = False,
) -> int:
    """Bring the long-lived stack of homeserver and bot up or down."""
    from greenroom.commands.compose.stack import act

    return act(action, profiles=profile or [], port=port, seed=seed, volumes=volumes)


@task(
    auto_shortflags=False,
    positional=["name"],
    help={"name": "start, reconcile, reset; without a name all of them", "args": "more arguments for one benchmark"},
)
@reported
def bench(context: Any, name: str, args: str = "") -> int:
    """Measure against what one would write by hand, side by side."""
    from greenroom.commands.benchmarks import run_benchmarks

    return run_benchmarks(name, args)


@task(
    auto_shortflags=False,
    help={
        "bot": "command line of the bot, e.g. 'python my_bot.py'",
        "promises": "YAML file that says how the bot is run and what it promises (instead of --bot)",
        "ask": "what a person says to it, {word} being another word each time (default: {word})",
        "answer": "what its answer contains (default: {word})",
        "only": "scenarios to run, separated by commas (default: all)",
        "jobs": "how many at a time",
        "homeserver": "synapse or conduit",
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
    only: str = "",
    jobs: str = "2",
    homeserver: str = "synapse",
    backend: str = "auto",
) -> int:
    """Give a bot to restarts, kicks, lost replies and rate limits: exit 0 all passed, 1 failed, 3 could not tell."""
    from greenroom.scenarios.command import scenarios

    return scenarios(
        bot=bot,
        promises=promises,
        ask=ask,
        answer=answer,
        only=only,
        jobs=jobs,
        homeserver=homeserver,
        backend=backend,
    )


@task
@reported
def lint(context: Any) -> int:
    """Check style and formatting with ruff."""
    return _run_tool("ruff", "check .") or _run_tool("ruff", "format --check .")


@task
@reported
def types(context: Any) -> int:
    """Check types with mypy."""
    return _run_tool("mypy", "")


def _run_tool(module: str, arguments: str) -> int:
    from greenroom.commands.reporting import run_tool

    return run_tool(module, arguments)


namespace = Collection(
    dev, down, seed, status, reset, logs, doctor, test, e2e, scenarios, image, compose, bench, lint, types
)
