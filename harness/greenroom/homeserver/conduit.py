"""Conduit and its living relatives, tuwunel and continuwuity: the same settings under other names.

Where the facts are from: https://docs.conduit.rs/configuration.html; `tuwunel-example.toml`, `docs/deploying/docker.md`
and `docs/development/compliance/synapse-admin.md` of tuwunel; https://continuwuity.org/configuration,
https://continuwuity.org/deploying/docker and `src/service/firstrun/mod.rs` of continuwuity.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from greenroom.homeserver.conduit_family import Relative
from greenroom.homeserver.interface import Capability, Missing
from greenroom.homeserver.kind import (
    ALONE_IN_A_CONTAINER,
    LIMITS_INSTEAD,
    LIMITS_PER_USER_INSTEAD,
    PEOPLE_INSTEAD,
    HomeserverKind,
)
from greenroom.homeserver.settings import Secrets

ROOM_VERSIONS = tuple(str(number) for number in range(6, 13))
DATA = "data"  # RocksDB makes many files, so they get a folder of their own


def conduits_own(secrets: Secrets) -> Mapping[str, Any]:
    """Return the settings that only Conduit has."""
    return {
        "database_backend": "rocksdb",
        "allow_check_for_updates": False,  # no outgoing requests
        "enable_lightning_bolt": False,  # true would append a symbol to display names
    }


def tuwunels_own(secrets: Secrets) -> Mapping[str, Any]:
    """Return the settings that only tuwunel has."""
    return {
        "registration_shared_secret": secrets.registration_shared_secret,
        "grant_admin_to_first_user": False,  # that may be a bot
        "allow_check_for_updates": False,  # no outgoing requests
        "new_user_displayname_suffix": '""',  # by default a symbol is appended to display names
        "client_sync_timeout_min": 0,  # in ms; by default a sync with timeout=0 waits for 5 s
    }


def continuwuitys_own(secrets: Secrets) -> Mapping[str, Any]:
    """Return the settings that only continuwuity has.

    Until it has an account it takes no token but one that it prints itself, and it makes the first account an
    administrator. So it makes one at its start, which nobody uses. At a later start that fails, which is no error.
    """
    password = f"first-{secrets.form_secret}"  # a word of a command, so it must not begin with a dash
    return {
        "admin_execute": [f"users create-user greenroom {password}"],
        "admin_execute_errors_ignore": True,
        "allow_announcements_check": False,  # no outgoing requests
        "new_user_displayname_suffix": '""',  # by default a symbol is appended to display names
    }


def lacks_of(title: str, services: str) -> dict[Capability, Missing]:
    """Return what a member of the family cannot do. `services`: why it has no application services."""
    no_limits = f"{title} has no rate limits that can be set"
    return {
        Capability.ADMIN_API: Missing(
            f"{title} has no admin API, only commands in a room of its administrator",
            PEOPLE_INSTEAD,
        ),
        Capability.SHARED_SECRET_REGISTRATION: Missing(
            f"{title} knows no shared secret", "registration by token, by which Greenroom makes all accounts there"
        ),
        Capability.RATE_LIMITS: Missing(no_limits, LIMITS_INSTEAD),
        Capability.RATE_LIMITS_PER_USER: Missing(no_limits, LIMITS_PER_USER_INSTEAD),
        Capability.APPSERVICES: Missing(services, "--homeserver synapse"),
        Capability.FEDERATION: ALONE_IN_A_CONTAINER,
    }


CONDUIT = HomeserverKind(
    name="conduit",
    image="matrixconduit/matrix-conduit:v0.10.9",
    missing=lacks_of("Conduit", "Conduit learns of application services in a room of its administrator only"),
    registration=Capability.REGISTRATION_TOKEN,
    recipe=Relative(
        prefix="CONDUIT",
        folder="/var/lib/matrix-conduit",
        port=6167,
        entrypoint=("/usr/local/bin/matrix-conduit",),
        own=conduits_own,
        variables={"CONDUIT_CONFIG": ""},  # else it wants a configuration file; empty means that there is none
    ).recipe,
    # Conduit takes its own default without an error for a version that it does not know.
    room_versions=ROOM_VERSIONS,
    database=DATA,
    data=DATA,
)
TUWUNEL = HomeserverKind(
    name="tuwunel",
    image="jevolk/tuwunel:v1.9.3",
    # It serves most of Synapse's admin API, and registration by shared secret is a part of that.
    missing={
        lack: why
        for lack, why in lacks_of("tuwunel", "Greenroom gives tuwunel no application services yet").items()
        if lack not in (Capability.ADMIN_API, Capability.SHARED_SECRET_REGISTRATION)
    },
    registration=Capability.SHARED_SECRET_REGISTRATION,  # an account by token cannot become an administrator
    recipe=Relative(prefix="TUWUNEL", folder="/var/lib/tuwunel", port=8008, own=tuwunels_own).recipe,
    room_versions=ROOM_VERSIONS,
    database=DATA,
    data=DATA,
    untried=True,
)
CONTINUWUITY = HomeserverKind(
    name="continuwuity",
    image="ghcr.io/continuwuity/continuwuity:v26.8.1",
    missing=lacks_of(
        "continuwuity", "continuwuity learns of application services by commands of its administrator only"
    ),
    registration=Capability.REGISTRATION_TOKEN,
    recipe=Relative(prefix="CONTINUWUITY", folder="/var/lib/continuwuity", port=8008, own=continuwuitys_own).recipe,
    room_versions=ROOM_VERSIONS,
    database=DATA,
    data=DATA,
    untried=True,
)
