"""Dendrite: in a container, from a `dendrite.yaml` and a signing key.

Where the facts are from: `dendrite-sample.yaml`, `cmd/generate-config/main.go`, `Dockerfile` and
`docs/serverkeyformat.md` of Dendrite, and https://element-hq.github.io/dendrite/administration/adminapi.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from greenroom.homeserver.interface import Capability, Missing
from greenroom.homeserver.kind import (
    ALONE_IN_A_CONTAINER,
    LIMITS_PER_USER_INSTEAD,
    PEOPLE_INSTEAD,
    HomeserverKind,
    Recipe,
)
from greenroom.homeserver.settings import HomeserverSettings, Secrets, read_files
from greenroom.homeserver.synapse_config import as_yaml

INSIDE = "/greenroom"  # not the image's /etc/dendrite: that is a volume, which `docker commit` leaves out
PORT = 8008
UID = 1000  # any number but root's: the folder belongs to it
CONFIG_FILE = "dendrite.yaml"
SIGNING_KEY_FILE = "matrix_key.pem"
# With SQLite each component has a database of its own, and its section says where.
COMPONENTS = ("federation_api", "key_server", "media_api", "mscs", "relay_api", "room_server", "sync_api")


def dendrite_config(settings: HomeserverSettings, secrets: Secrets) -> dict[str, Any]:
    """Render `dendrite.yaml` as data. `settings.extra` holds sections; their fields win over ours."""
    config: dict[str, Any] = {
        "version": 2,
        "global": {
            "server_name": settings.server_name,
            "private_key": f"{INSIDE}/{SIGNING_KEY_FILE}",
            "disable_federation": True,  # a test server has no peers
            "trusted_third_party_id_servers": [],
            "report_stats": {"enabled": False},
            "cache": {"max_size_estimated": "128mb"},  # the default is all the memory that a container gets
            "jetstream": {"storage_path": INSIDE},
        },
        "client_api": {
            "registration_disabled": True,  # the shared secret is the only way to an account
            "registration_shared_secret": secrets.registration_shared_secret,
            "rate_limiting": {"enabled": False},
        },
        **{name: {"database": _database(name)} for name in COMPONENTS},
        "user_api": {"account_database": _database("user_api"), "bcrypt_cost": 4},  # the least: accounts are made fast
        "logging": [{"type": "std", "level": _level(settings.log_level)}],
    }
    config["federation_api"]["key_perspectives"] = []  # never ask matrix.org for keys
    config["media_api"]["base_path"] = f"{INSIDE}/media"
    if settings.room_version:
        config["room_server"]["default_room_version"] = settings.room_version
    for section, fields in settings.extra.items():
        config[section] = {**config.get(section, {}), **fields} if isinstance(fields, dict) else fields
    return config


def _database(component: str) -> dict[str, str]:
    return {"connection_string": f"file:{INSIDE}/{component}.db"}


def _level(level: str) -> str:
    return {"WARNING": "warn"}.get(level.upper(), level.lower())


def signing_key_pem(signing_key: str) -> str:
    """Return a signing key, one line as Synapse keeps it, in Dendrite's format. Its tool `generate-keys` is not needed.

    Dendrite makes no key of its own and does not start without one. In both formats a key is a name and the 32 bytes
    of an Ed25519 seed; Dendrite wants the Base64 padded.
    """
    algorithm, name, seed = signing_key.split()
    padded = seed + "=" * (-len(seed) % 4)
    return (
        "-----BEGIN MATRIX PRIVATE KEY-----\n"
        f"Key-ID: {algorithm}:{name}\n"
        "\n"
        f"{padded}\n"
        "-----END MATRIX PRIVATE KEY-----\n"
    )


def dendrite_recipe(image: str, settings: HomeserverSettings, secrets: Secrets, data: Path) -> Recipe:
    """Return how to run Dendrite; data that an earlier container left in `data` goes in again."""
    return Recipe(
        image=image,
        entrypoint=["/usr/bin/dendrite"],
        command=["-config", f"{INSIDE}/{CONFIG_FILE}", "-http-bind-address", f":{PORT}"],
        port=PORT,
        folder=INSIDE,
        uid=UID,
        gid=UID,
        files={
            **read_files(data, sorted(data.rglob("*"))),
            CONFIG_FILE: as_yaml(dendrite_config(settings, secrets)).encode(),
            SIGNING_KEY_FILE: signing_key_pem(secrets.signing_key).encode(),
        },
    )


DENDRITE = HomeserverKind(
    name="dendrite",
    image="matrixdotorg/dendrite-monolith:v0.15.2",
    missing={
        Capability.ADMIN_API: Missing(
            "Dendrite has an admin API of its own below /_dendrite/admin, and hardly anything of Synapse's",
            PEOPLE_INSTEAD,
        ),
        Capability.REGISTRATION_TOKEN: Missing(
            "Greenroom makes accounts by Dendrite's shared secret, in one step", "registration by shared secret"
        ),
        Capability.RATE_LIMITS: Missing(
            "Dendrite has one rate limit for all requests, and none of Synapse's names means anything to it",
            '`extra={"client_api": {"rate_limiting": {"enabled": True}}}`, or `faults.rate_limited()`',
        ),
        Capability.RATE_LIMITS_PER_USER: Missing(
            "Dendrite knows no rate limit for one user",
            LIMITS_PER_USER_INSTEAD,
        ),
        Capability.APPSERVICES: Missing("Greenroom gives Dendrite no application services yet", "--homeserver synapse"),
        Capability.FEDERATION: ALONE_IN_A_CONTAINER,
    },
    registration=Capability.SHARED_SECRET_REGISTRATION,
    recipe=dendrite_recipe,
    room_versions=tuple(str(number) for number in range(8, 13)),  # those that its changelog names; it knows older ones
    configuration=(CONFIG_FILE, SIGNING_KEY_FILE),
    database="data",
    data="data",
    untried=True,
)
