"""Read promises files and check them against the catalogue and this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from greenroom.bot_process import bot_environment, check_program
from greenroom.configuration.variables import check_known, check_no_slip, mentioned
from greenroom.errors import Misuse, WrongFile
from greenroom.scenarios.catalogue import CATALOGUE
from greenroom.scenarios.promises import DEFAULT, NOT_PROMISED, YES, BotPromises, ConfigFile
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
            read.append(_with_text(file, folder))
            for name in sorted(mentioned([read[-1].text or ""])):
                check_known(name, bot_environment(promises.env))
        except Misuse as error:
            raise WrongFile(places.of(loc), dotted(loc), str(error)) from None
    return promises.model_copy(update={"config": tuple(read)})


def _with_text(file: ConfigFile, folder: Path) -> ConfigFile:
    """Return a file with the text that `from` names. Raises Misuse if that cannot be read."""
    if file.source is None:
        return file
    return file.model_copy(update={"source": None, "text": read_text(folder / file.source)})


def _mistakes(promises: BotPromises) -> Iterator[tuple[Loc, str]]:
    """Yield every mistake that the models cannot find, as (place, problem)."""
    if not promises.cwd.is_dir():
        yield ("cwd",), f"there is no folder {promises.cwd}"
    if not promises.own_folder:  # in the bot's own folder a relative path leads elsewhere
        yield from _refused(("command",), partial(check_program, promises.command, "the bot", promises.cwd))
    words = [promises.command] if isinstance(promises.command, str) else promises.command
    known = {**promises.env, **bot_environment({})}
    for text in words:
        yield from _refused(("command",), partial(check_no_slip, text, known))
    for name, text in promises.env.items():
        yield from _refused(("env", name), partial(check_no_slip, text, known))
    if not promises.answer.strip():
        yield ("answer",), "is empty, so every message would be an answer"
    if "{word}" in promises.answer and "{word}" not in promises.ask:
        yield ("answer",), "has {word}, but `ask` has none, so the bot cannot know that word"
    yield from _unknown_promises(promises)


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
