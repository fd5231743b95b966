"""Read promises files and check them against the catalogue and this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from greenroom.bot_process import bot_environment, check_program, split_command
from greenroom.configuration.files import check_paths
from greenroom.configuration.variables import OTHER_PORT, VARIABLES, check_known, check_no_slip, mentioned
from greenroom.errors import Misuse, WrongFile
from greenroom.scenarios.catalogue import CATALOGUE
from greenroom.scenarios.promises import DEFAULT, NOT_PROMISED, YES, AppservicePromise, BotPromises, ConfigFile
from greenroom.yaml_files.checked import checked, load_yaml, read_text
from greenroom.yaml_files.names import choice
from greenroom.yaml_files.places import Loc, Places, dotted

NEEDS = "at least `command`"


def load_promises(path: Path) -> BotPromises:
    """Read a promises file. Raises WrongFile with file, line and column of the first mistake."""
    text = read_text(path)
    places = Places(text, str(path))
    return _checked(load_yaml(text, str(path)), places, path.parent)


def parse_promises(data: Any, source: str, folder: Path) -> BotPromises:
    """Check promises. A relative `cwd` becomes absolute, below `folder`. Raises WrongFile with the first mistake."""
    return _checked(data, Places("", source), folder)


def check_command(promises: BotPromises) -> None:
    """Raise Misuse if the bot's program is not on its PATH, or has a path that leads nowhere."""
    here = str(promises.cwd)
    command = [word.replace("${HERE}", here) for word in split_command(promises.command)]
    if promises.own_folder and _is_relative(command[0]):
        raise Misuse(
            f"there is no {command[0]!r} in the bot's own new folder. Try: '${{HERE}}/{command[0].removeprefix('./')}'"
        )
    search = bot_environment(promises.env, variables={"HERE": here})["PATH"]
    check_program(command, "the bot", promises.cwd, search)


def _is_relative(program: str) -> bool:
    return "/" in program and "$" not in program and not program.startswith("/")


def _checked(data: Any, places: Places, folder: Path) -> BotPromises:
    promises = checked(BotPromises, data, places, needs=NEEDS)
    promises = promises.model_copy(update={"cwd": (folder / promises.cwd).resolve()})
    for loc, problem in _mistakes(promises):
        raise WrongFile(places.of(loc), dotted(loc), problem)
    read = []
    for index, file in enumerate(promises.config):
        # `config` is a list, or a mapping from paths to texts.
        loc = ("config", file.path) if isinstance(data["config"], Mapping) else ("config", index)
        try:
            check_paths(earlier.path for earlier in promises.config[: index + 1])
            read.append(_with_text(file, folder))
            for name in sorted(mentioned([read[-1].text or ""])):
                check_known(name, bot_environment(promises.env))
        except Misuse as error:
            raise WrongFile(places.of(loc), dotted(loc), str(error)) from None
    promises = promises.model_copy(update={"config": tuple(read), "appservice": _registered(promises, places, folder)})
    for loc, problem in _unknown_to_the_bot(promises):
        raise WrongFile(places.of(loc), dotted(loc), problem)
    return promises


def _registered(promises: BotPromises, places: Places, folder: Path) -> AppservicePromise:
    """Return the registration with the text of a given file. Raises WrongFile with its first mistake."""
    given = promises.appservice
    if given.registration is None:
        return given
    loc = ("appservice", "registration")
    try:
        read = given.model_copy(update={"registration": read_text(folder / given.registration)})
        read.service("greenroom.test")
    except Misuse as error:
        raise WrongFile(places.of(loc), dotted(loc), str(error)) from None
    return read


def _with_text(file: ConfigFile, folder: Path) -> ConfigFile:
    """Return a file with the text that `from` names. Raises Misuse if that cannot be read."""
    if file.source is None:
        return file
    return file.model_copy(update={"source": None, "text": read_text(folder / file.source)})


def _mistakes(promises: BotPromises) -> Iterator[tuple[Loc, str]]:
    """Yield every mistake that the models cannot find, as (place, problem)."""
    if not promises.cwd.is_dir():
        yield ("cwd",), f"there is no folder {str(promises.cwd)!r}"
    # A bare name in `own_folder` is checked before a run: a file may be read where its bot is not installed.
    if not promises.own_folder or "/" in split_command(promises.command)[0]:
        yield from _refused(("command",), partial(check_command, promises))
    words = [promises.command] if isinstance(promises.command, str) else promises.command
    known = {**promises.env, **bot_environment({})}
    for text in words:
        yield from _refused(("command",), partial(check_no_slip, text, known))
    for name, text in promises.env.items():
        if not name or "=" in name or "\0" in name:
            yield ("env", name), "cannot be the name of an environment variable"
        yield from _refused(("env", name), partial(check_no_slip, text, known))
    for name in sorted(mentioned([promises.ready.http or ""])):
        yield from _refused(("ready", "http"), partial(check_known, name, known))
    for name in sorted(mentioned([promises.key_store])):
        yield from _refused(("key_store",), partial(check_known, name, known))
    if promises.appservice != AppservicePromise() and not promises.is_appservice:
        yield ("appservice",), "is only for an application service: `kind: appservice`"
    for name, variable in VARIABLES.items():
        if variable.of_service and not promises.is_appservice and promises.mentions(name) and name not in known:
            yield ("kind",), f"must be `appservice`, because only an application service has ${{{name}}}"
    if promises.pulled and promises.is_appservice:
        yield ("trigger",), "is not for an application service, which is asked in the chat"
    if promises.encrypted and promises.is_appservice:
        yield ("encrypted",), "of an application service cannot be judged: it has no device to share keys with"
    if not promises.answer.strip():
        yield ("answer",), "is empty, so every message would be an answer"
    trigger = promises.trigger
    for name in sorted({"ask", "ask_as"} & promises.model_fields_set if promises.pulled else ()):
        yield (name,), "goes without this `trigger`: instead of it, a person asks nothing in the chat"
    if promises.later_s and "ask" not in promises.model_fields_set:
        yield ("trigger", "seconds"), "goes with `ask`, which sets the time: nobody can judge what comes by itself"
    if "{word}" in promises.answer and not (promises.pulled.has_word if promises.pulled else "{word}" in promises.ask):
        says, asks = ("says", "trigger") if promises.pulled else ("answer", "ask")
        yield (says,), f"has {{word}}, but `{asks}` has none, so the bot cannot know that word"
    for name in sorted(trigger.variables if trigger else ()):
        yield from _refused(("trigger",), partial(check_known, name, known))
    yield from _unknown_promises(promises)


def _unknown_to_the_bot(promises: BotPromises) -> Iterator[tuple[Loc, str]]:
    """Yield a mistake for each port or token of `ready` and `trigger` that the bot is not told."""
    told = promises.model_copy(update={"ready": type(promises.ready)()})
    places: list[tuple[Loc, set[str]]] = [(("ready", "http"), mentioned([promises.ready.http or ""]))]
    places += [(("trigger",), promises.trigger.variables - {"ROOM"})] if promises.trigger else []
    for loc, names in places:
        for name in sorted(names):
            made = OTHER_PORT.fullmatch(name) or (name in VARIABLES and VARIABLES[name].made)
            if made and not told.mentions(name) and name not in promises.env:
                yield loc, f"the bot is not told ${{{name}}}; mention it in `command`, `env` or `config` too"


def _unknown_promises(promises: BotPromises) -> Iterator[tuple[Loc, str]]:
    for name, value in promises.promises.items():
        if name == DEFAULT:
            if value not in (YES, NOT_PROMISED):
                yield ("promises", name), f"can be yes or no, not {value!r}"
        elif name not in CATALOGUE:
            yield ("promises", name), f"there is no scenario {name!r}{choice(name, CATALOGUE)}"
        else:
            yield from _refused(("promises", name), partial(CATALOGUE[name].way_of, promises))


def _refused(loc: Loc, check: Callable[[], object]) -> Iterator[tuple[Loc, str]]:
    """Yield the mistake that a check raises, if any, at a place."""
    try:
        check()
    except Misuse as error:
        yield loc, str(error)
