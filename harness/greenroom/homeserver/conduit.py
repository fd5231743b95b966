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
