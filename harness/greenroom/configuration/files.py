"""Configuration files of a bot: texts with `${NAME}` that are written into its folder before it starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from greenroom.configuration.variables import filled
from greenroom.errors import Misuse
from greenroom.homeserver.settings import replace_text


def check_path(path: str) -> None:
    """Raise Misuse unless a path is relative and stays inside the folder."""
    pure = PurePosixPath(path)
    if not pure.name or pure.is_absolute() or ".." in pure.parts or "\0" in path:
        raise Misuse(f"{path!r} is not a path inside the bot's folder")


def check_paths(paths: Iterable[str]) -> None:
    """Raise Misuse unless all paths are inside the folder, and no two are in each other's way."""
    before: dict[PurePosixPath, str] = {}
    for path in paths:
        check_path(path)
        pure = PurePosixPath(path)
        for other, name in before.items():
            if pure == other:
                raise Misuse(f"{path!r} is there already")
            if other in pure.parents or pure in other.parents:
                raise Misuse(f"{path!r} and {name!r} cannot both be files: one is the other's folder")
        before[pure] = path


def fill_files(files: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    """Return the files with their variables filled in. Raises Misuse with the path of a mistake."""
    check_paths(files)
    whole = {}
    for path, text in files.items():
        try:
            whole[path] = filled(text, values)
        except Misuse as error:
            raise Misuse(f"{path}: {error}") from None
    return whole


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """Write files below a folder, readable by their owner only: they may hold passwords."""
    for path, text in files.items():
        where = folder / path
        where.parent.mkdir(parents=True, exist_ok=True)
        replace_text(where, text)
