"""The files of the compose stack: configurations from the harness's own renderers, variables for compose.yaml."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenroom.bot_process import BOT_LOCALPART
from greenroom.homeserver.settings import SERVER_NAME, DamagedSecrets, HomeserverSettings, Secrets, replace_text
from greenroom.homeserver.synapse import UID, config_files
from greenroom.people.accounts import derived_password
from greenroom.spelling import command

BOT_USER = f"@{BOT_LOCALPART}:{SERVER_NAME}"
PROFILES = ("postgres", "web")
VARIABLES_FILE = "compose.env"
START_OVER = "compose down --volumes"


@dataclass(frozen=True)
class Stack:
    """One stack: its folder, port and profiles."""

    folder: Path
    port: int = 8008
    profiles: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """The homeserver's URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def homeserver(self) -> Path:
        """The folder with the homeserver's configuration and data."""
        return self.folder / "homeserver"

    def secrets(self) -> Secrets:
        """Return this stack's secrets. The first call creates them. Raises DamagedSecrets if they cannot be read."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.folder / "secrets.json"
        try:
            return Secrets.kept_in(path)
        except DamagedSecrets:
            cure = f"put it back, or start over: {command(START_OVER)}"
            raise DamagedSecrets(f"{path} is damaged, and the passwords follow from it; {cure}") from None

    @property
    def bot_password(self) -> str:
        """The password of the bot's account."""
        return derived_password(self.secrets().registration_shared_secret, BOT_LOCALPART)


def postgres_password(secrets: Secrets) -> str:
    """Return the password of the stack's database, derived from the stack's secrets."""
    return hashlib.sha256(f"postgres/{secrets.macaroon_secret_key}".encode()).hexdigest()[:32]


def stack_settings(stack: Stack) -> HomeserverSettings:
    """Return the homeserver's settings: as for a throwaway one, plus PostgreSQL with the profile `postgres`."""
    if "postgres" not in stack.profiles:
        return HomeserverSettings()
    return HomeserverSettings(extra={"database": postgres_database(postgres_password(stack.secrets()))})


def postgres_database(password: str) -> dict[str, Any]:
    """Return Synapse's `database` section for the stack's PostgreSQL."""
    return {
        "name": "psycopg2",
        "args": {
            "user": "synapse",
            "password": password,
            "dbname": "synapse",
            "host": "postgres",
            "cp_min": 5,
            "cp_max": 10,
        },
    }


def element_config(stack: Stack) -> dict[str, Any]:
    """Return Element Web's config.json, which knows only the stack's homeserver."""
    return {
        "default_server_config": {"m.homeserver": {"base_url": stack.url, "server_name": SERVER_NAME}},
        "disable_guests": True,
        "disable_custom_urls": False,
        "integrations_ui_url": "",
        "integrations_rest_url": "",
        "show_labs_settings": True,
        "brand": "Greenroom",
    }


def variables(stack: Stack, images: Mapping[str, str], user: str) -> dict[str, str]:
    """Return the variables of compose.yaml. `images` maps services to images."""
    secrets = stack.secrets()
    named = {f"GREENROOM_{service.upper()}_IMAGE": image for service, image in images.items()}
    return {
        **named,
        "GREENROOM_COMPOSE_DIR": str(stack.folder),
        "GREENROOM_PORT": str(stack.port),
        "GREENROOM_USER": user,
        "GREENROOM_BOT_PASSWORD": stack.bot_password,
        "GREENROOM_POSTGRES_PASSWORD": postgres_password(secrets),
    }


def write_files(stack: Stack, images: Mapping[str, str], *, rootless: bool = False) -> dict[str, str]:
    """Write all files of the stack. Return the variables.

    The container mounts the homeserver's folder, so its user must be able to write there. It is our user or, if we are
    root, the image's own. In a rootless engine's containers, our user is root.
    """
    uid, gid = (UID, UID) if os.getuid() == 0 else (os.getuid(), os.getgid())
    stack.homeserver.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, content in config_files(stack_settings(stack), stack.secrets()).items():
        replace_text(stack.homeserver / name, content.decode())
    if os.getuid() == 0:
        for path in (stack.homeserver, *stack.homeserver.rglob("*")):
            os.chown(path, uid, gid)
    web = stack.folder / "web" / "config.json"
    web.parent.mkdir(exist_ok=True)
    web.write_text(json.dumps(element_config(stack), indent=2) + "\n")
    web.chmod(0o644)  # it has no secrets, and nginx's user must read it
    found = variables(stack, images, "0:0" if rootless else f"{uid}:{gid}")
    lines = "".join(f"{name}={value}\n" for name, value in found.items())
    replace_text(stack.folder / VARIABLES_FILE, lines)
    return found
