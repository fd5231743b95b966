"""The reference bot may start ahead of its homeserver, where all it needs is known from the last time.

Both then import at the same time, which is most of either start. The reference bot waits for a homeserver that refuses
connections. Many other bots end there, so they are held until the homeserver answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from greenroom.bot_process import matrix_environment
from greenroom.commands.dev.folder import DevFolder
from greenroom.commands.dev.options import DevOptions
from greenroom.errors import HarnessError
from greenroom.homeserver.external import ExternalHomeserver
from greenroom.people.accounts import Account
from greenroom.seed.note import fingerprint, note_path, read_note


def environment_ahead(
    folder: DevFolder, options: DevOptions, port: int, passed_on: Mapping[str, str]
) -> dict[str, str] | None:
    """Return the environment that the bot had last time, if it will very likely be the same; else None.

    That takes the reference bot, a blueprint that is applied already, and the homeserver on the `port` of last time.
    `dev.env` is written when everything runs, so the account in it exists. The caller compares once the homeserver
    has started.
    """
    note = read_note(note_path(folder.homeserver, options.blueprint))
    if options.bot or note is None or note.sha256 != fingerprint(options.blueprint):
        return None
    last: dict[str, str] = {}
    with suppress(HarnessError):  # a damaged dev.env is written anew in a moment
        last = folder.recorded_environment()
    url, user_id = last.get("MATRIX_HOMESERVER", ""), last.get("MATRIX_USER_ID", "")
    if not url.endswith(f":{port}"):
        return None
    server = ExternalHomeserver(url, user_id.partition(":")[2])
    account = Account(user_id, last.get("MATRIX_PASSWORD", ""))
    return {**passed_on, **matrix_environment(server, account, folder.bot)}
