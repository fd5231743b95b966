"""New passwords for accounts in a Synapse's data, before a homeserver with other secrets starts on it.

Starting it and changing each password over HTTP would take as long as the start itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import bcrypt

from greenroom.errors import HarnessError
from greenroom.homeserver.synapse_config import BCRYPT_ROUNDS


def change_passwords(database: Path, passwords: Mapping[str, str]) -> None:
    """Set the password of each account, given by its user id, in a database that no server uses.

    Written as the handbook says:
    https://element-hq.github.io/synapse/latest/usage/administration/admin_faq.html#manually-resetting-passwords
    Sessions stay; the data of a freshly seeded homeserver has none. Raises HarnessError if there is no such account.
    """
    with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=rw", uri=True)) as connection, connection:
        for user_id, password in passwords.items():
            hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(BCRYPT_ROUNDS)).decode()
            done = connection.execute("UPDATE users SET password_hash = ? WHERE name = ?", (hashed, user_id))
            if done.rowcount != 1:
                raise HarnessError(f"{database} has no account {user_id}, whose password was to be changed")
