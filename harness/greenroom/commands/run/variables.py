"""What `greenroom run` tells its program: variables, and the file GREENROOM_FILE with the same in JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from greenroom.bot_process import BOT_LOCALPART
from greenroom.errors import Misuse
from greenroom.homeserver.interface import RunningHomeserver
from greenroom.homeserver.settings import replace_text
from greenroom.people.accounts import Account

VARIABLES: dict[str, str] = {
    "MATRIX_HOMESERVER": "URL of the homeserver. Faults hit what is sent here, and requests are recorded",
    "GREENROOM_HOMESERVER": "another URL of the same homeserver. No fault hits here; requests are recorded too",
    "GREENROOM_SERVER_NAME": "the homeserver's name, the part of user ids after the `:`",
    "GREENROOM_FILE": "path of a JSON file with all of this, and the room ids of the blueprint",
    "GREENROOM_{NAME}_USER_ID": "user id of a person, for instance `GREENROOM_ALICE_USER_ID`",
    "GREENROOM_{NAME}_PASSWORD": "password of that person",
    "GREENROOM_{NAME}_ACCESS_TOKEN": "access token of that person",
    "MATRIX_USER_ID": "user id of the account `bot`, if there is one",
    "MATRIX_PASSWORD": "password of the account `bot`",
    "MATRIX_ACCESS_TOKEN": "access token of the account `bot`",
    "GREENROOM_URL": "with `--http`: URL of the HTTP interface",
    "GREENROOM_KEY": "with `--http`: its key, for the header `Authorization: Bearer …`",
}
"""Name -> meaning. `{NAME}` is a localpart in capitals, with `_` for each character that is no letter and no digit."""

_FOREIGN = re.compile("|".join(["MATRIX_.*", *(name.replace("{NAME}", "[A-Z0-9_]+") for name in VARIABLES)]))
"""What a run does not hand on from its own environment: whatever a run sets."""


@dataclass(frozen=True)
class Scene:
    """What was made for the program. `url` is the address with faults, `clear_url` the one without."""

    server: RunningHomeserver
    url: str
    clear_url: str
    people: Sequence[Account]
    rooms: Mapping[str, str] = field(default_factory=dict)  # key in the blueprint -> room id
    seed: str = ""
    interface: Mapping[str, str] = field(default_factory=dict)  # GREENROOM_URL and GREENROOM_KEY

    def variables(self, file: Path) -> dict[str, str]:
        """Return the variables. `file` is the path of GREENROOM_FILE."""
        values = {
            "MATRIX_HOMESERVER": self.url,
            "GREENROOM_HOMESERVER": self.clear_url,
            "GREENROOM_SERVER_NAME": self.server.server_name,
            "GREENROOM_FILE": str(file),
            **self.interface,
        }
        for person in self.people:
            values |= _login(f"GREENROOM_{variable_part(person.localpart)}", person)
            if person.localpart == BOT_LOCALPART:
                values |= _login("MATRIX", person)
        return values

    def document(self) -> dict[str, Any]:
        """Return the content of GREENROOM_FILE: as `dev.json` has it, with tokens and rooms."""
        return {
            "version": 1,
            "homeserver": {**self.server.describe(), "url": self.url, "clear_url": self.clear_url},
            "people": [
                {"user_id": one.user_id, "password": one.password, "access_token": one.access_token}
                for one in self.people
            ],
            "rooms": dict(self.rooms),
            "seed": self.seed,
            "http": {name.removeprefix("GREENROOM_").lower(): value for name, value in self.interface.items()},
        }

    def write(self, file: Path) -> None:
        """Write GREENROOM_FILE, readable by its owner only."""
        replace_text(file, json.dumps(self.document(), indent=2) + "\n")


def variable_part(localpart: str) -> str:
    """Return a person's name as a part of a variable: `night-bot` is `NIGHT_BOT`."""
    return re.sub(r"[^A-Z0-9]", "_", localpart.upper())


def check_names(localparts: Sequence[str]) -> None:
    """Raise Misuse for two people whose variables would have the same names."""
    named: dict[str, str] = {}
    for localpart in localparts:
        other = named.setdefault(variable_part(localpart), localpart)
        if other != localpart:
            name = f"GREENROOM_{variable_part(localpart)}_USER_ID"
            raise Misuse(f"{other!r} and {localpart!r} would both be {name}; rename one of them")


def environment(values: Mapping[str, str], outer: Mapping[str, str]) -> dict[str, str]:
    """Return the program's environment: `outer` without settings of another homeserver or another run, and `values`."""
    return {name: value for name, value in outer.items() if not _FOREIGN.fullmatch(name)} | dict(values)


def _login(prefix: str, person: Account) -> dict[str, str]:
    return {
        f"{prefix}_USER_ID": person.user_id,
        f"{prefix}_PASSWORD": person.password,
        f"{prefix}_ACCESS_TOKEN": person.access_token,
    }
