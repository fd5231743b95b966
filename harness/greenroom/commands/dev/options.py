"""The options of `dev`, checked before anything is started or changed."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from greenroom.bot_process import check_program, split_command
from greenroom.errors import Misuse, Unavailable
from greenroom.homeserver.choose import Choice
from greenroom.seed.blueprint import Blueprint
from greenroom.seed.load import load_blueprint
from greenroom.seed.repeat import settings_of


@dataclass(frozen=True)
class DevOptions:
    """The checked options of `dev`."""

    choice: Choice
    blueprint: Blueprint
    seed: str  # as it was typed
    port: int = 0
    detach: bool = False
    fresh: bool = False
    watch: bool = False
    homeserver_log: bool = False
    stage: bool = False
    bot: tuple[str, ...] = ()  # empty: the reference bot

    @classmethod
    def parse(
        cls,
        *,
        choice: Choice,
        seed: str,
        settings: Sequence[str] = (),
        port: str,
        detach: bool,
        fresh: bool,
        watch: bool,
        homeserver_log: bool,
        stage: bool = False,
        bot: str | None,
    ) -> DevOptions:
        """Check the command line. Raises Misuse or Unavailable."""
        if stage:
            check_stage(detach=detach)
        if watch and detach:
            raise Misuse("--watch needs dev in the foreground. Try: leave --detach out")
        return cls(
            choice=choice,
            blueprint=load_blueprint(seed, settings_of(settings)),
            seed=as_typed(seed, settings),
            port=parse_port(port),
            detach=detach,
            fresh=fresh,
            watch=watch,
            homeserver_log=homeserver_log,
            stage=stage,
            bot=() if bot is None else _program(bot),
        )


def check_stage(*, detach: bool, library: str = "nicegui") -> None:
    """Raise Misuse if nothing would serve the stage's page, Unavailable if the library for it is not installed."""
    if detach:
        raise Misuse("--stage needs dev in the foreground, which serves the page. Try: leave --detach out")
    if find_spec(library) is None:
        raise Unavailable("the stage", "NiceGUI is not installed", "pip install 'matrix-greenroom[stage]'")


def as_typed(name: str, settings: Sequence[str]) -> str:
    """Return a blueprint's name or path and its `--set` options as words of a command line."""
    return shlex.join([name, *(word for setting in settings for word in ("--set", setting))])


def parse_port(text: str) -> int:
    """Return the port of `--port`, or 0 (any free port) if it is empty."""
    if not text:
        return 0
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise Misuse(f"--port must be a number from 1 to 65535, not {text!r}")
    return int(text)


def _program(command: str) -> tuple[str, ...]:
    """Return the command of `--bot`. Raises Misuse if its program does not exist."""
    check_program(command, "--bot")
    return tuple(split_command(command))
