"""The reference bot may start ahead of its homeserver, where all it needs is known from the last time.

Both then import at the same time, which is most of either start. The reference bot waits for a homeserver that refuses
connections. Many other bots end there, so they are held until the homeserver answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from greenroom.bot_process import BOT_LOCALPART, matrix_environment
from greenroom.commands.dev.folder import SECRETS, DevFolder
from greenroom.commands.dev.options import DevOptions
from greenroom.homeserver.external import ExternalHomeserver
from greenroom.homeserver.settings import LOOPBACK, SERVER_NAME, DamagedSecrets, Secrets
from greenroom.people.accounts import Account, derived_password
from greenroom.seed.logins import accounts_with
from greenroom.seed.note import note_path, read_note


def environment_ahead(
    folder: DevFolder, options: DevOptions, port: int, passed_on: Mapping[str, str]
) -> dict[str, str] | None:
    """Return the environment that the bot will very likely have; None if it cannot be told.

    That takes the reference bot, a blueprint that is applied already, and a homeserver on the `port` of last time. With
    the stage it cannot be told: the bot's proxy has another port each time. The caller compares once the homeserver has
    started.
    """
    note = read_note(note_path(folder.homeserver, options.blueprint))
    if options.stage or options.bot or not port or note is None or note.sha256 != options.blueprint.fingerprint:
        return None
    account = _account(folder, options)
    if account is None:
        return None
    server = ExternalHomeserver(f"http://{LOOPBACK}:{port}", SERVER_NAME)
    return {**passed_on, **matrix_environment(server, account, folder.bot)}


def _account(folder: DevFolder, options: DevOptions) -> Account | None:
    """Return the bot's account if it is on the homeserver already.

    One that the blueprint does not have is made before `dev.env` is written for the first time.
    """
    with suppress(DamagedSecrets, FileNotFoundError):
        secret = Secrets.read(folder.homeserver / SECRETS).registration_shared_secret
        for account in accounts_with(options.blueprint, SERVER_NAME, secret):
            if account.localpart == BOT_LOCALPART:
                return account
        if folder.env_file.exists():
            return Account(f"@{BOT_LOCALPART}:{SERVER_NAME}", derived_password(secret, BOT_LOCALPART))
    return None
