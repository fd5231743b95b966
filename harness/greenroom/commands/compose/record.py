"""`stack.json`: what `compose up` notes, so that later commands can tell where the stack is and who can log in."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from greenroom.commands.compose.files import BOT_USER
from greenroom.errors import HarnessError
from greenroom.homeserver.settings import replace_text
from greenroom.people.accounts import Account
from greenroom.spelling import command

VERSION = 1
NAME = "stack.json"


@dataclass(frozen=True)
class Record:
    """What is known of a stack: where it listens, its profiles, its blueprint and the people who can log in."""

    url: str
    profiles: tuple[str, ...] = ()
    seed: str = ""  # the name of the latest blueprint; empty: none
    people: tuple[tuple[str, str], ...] = ()  # user id and password, without the bot

    def seeded(self, blueprint: str, accounts: Iterable[Account]) -> Record:
        """Return this record after a blueprint was applied. People of earlier blueprints stay: so do their accounts."""
        people = {**dict(self.people), **{each.user_id: each.password for each in accounts}}
        people.pop(BOT_USER, None)
        return replace(self, seed=blueprint, people=tuple(people.items()))

    def write(self, folder: Path) -> None:
        """Write the record into a stack's folder, readable by its owner only."""
        replace_text(folder / NAME, json.dumps({"version": VERSION, **asdict(self)}, indent=2) + "\n")


def read_record(folder: Path) -> Record | None:
    """Return the record in a stack's folder; None if there is none. Raises HarnessError if it cannot be read."""
    try:
        data = json.loads((folder / NAME).read_text())
        if data["version"] != VERSION:
            raise ValueError(f"its version is {data['version']!r}, not {VERSION}")
        people = tuple((str(user_id), str(password)) for user_id, password in data["people"])
        return Record(str(data["url"]), tuple(map(str, data["profiles"])), str(data["seed"]), people)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HarnessError(f"{folder / NAME} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        what = str(error) if isinstance(error, ValueError) else "a part is missing"
        raise HarnessError(f"{folder / NAME} is damaged ({what}); write it anew: {command('compose up')}") from None
