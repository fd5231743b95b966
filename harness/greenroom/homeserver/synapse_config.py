"""Synapse's configuration, rendered by one pure function for the process, the container and the compose stack."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from greenroom.errors import Misuse
from greenroom.homeserver.interface import Capability, Missing
from greenroom.homeserver.settings import FederationSettings, HomeserverSettings, Secrets, replace_text

VERSION = "1.163.2"  # the one pinned in constraints.txt
MISSING = {
    Capability.REGISTRATION_TOKEN: Missing(
        "Greenroom makes accounts by Synapse's shared secret, in one step instead of several",
        "`enable_registration` and `registration_requires_token` among its `extra` settings",
    ),
    # Taken away from a server that has a way to others.
    Capability.FEDERATION: Missing(
        "it was started without a way to other homeservers", "homeservers that one test run starts as processes"
    ),
}
DATA_ELSEWHERE = Missing(
    "its `extra` settings put its data into another place", "`extra` without `database` and `media_store_path`"
)
NO_LIMIT = {"per_second": 1_000_000, "burst_count": 1_000_000}

# One entry per limit of synapse.config.ratelimiting; a limit that is left out has Synapse's default.
RATE_LIMITS: dict[str, Any] = {
    "rc_message": NO_LIMIT,  # leaves and state events count too: 10, then one per 5 s
    "rc_registration": NO_LIMIT,  # the admin API, which we use, is not limited; a bot may register otherwise
    "rc_registration_token_validity": NO_LIMIT,
    "rc_login": {"address": NO_LIMIT, "account": NO_LIMIT, "failed_attempts": NO_LIMIT},  # 5, then one per 333 s
    "rc_admin_redaction": NO_LIMIT,
    "rc_joins": {"local": NO_LIMIT, "remote": NO_LIMIT},
    "rc_joins_per_room": NO_LIMIT,
    "rc_key_requests": NO_LIMIT,
    "rc_3pid_validation": NO_LIMIT,
    "rc_invites": {"per_room": NO_LIMIT, "per_user": NO_LIMIT, "per_issuer": NO_LIMIT},  # 5, then one per 333 s
    "rc_third_party_invite": NO_LIMIT,
    "rc_media_create": NO_LIMIT,
    "rc_presence": {"per_user": NO_LIMIT},
    "rc_delayed_event_mgmt": NO_LIMIT,
    "rc_room_creation": NO_LIMIT,  # 10, then one per 62 s
    "rc_reports": NO_LIMIT,
    "rc_user_directory": NO_LIMIT,
    "rc_profile": NO_LIMIT,
    "rc_federation": {"window_size": 1000, "sleep_limit": 1_000_000, "sleep_delay": 0, "reject_limit": 1_000_000},
    "federation_rr_transactions_per_room_per_second": 1_000_000,
    "remote_media_download_per_second": "1G",
    "remote_media_download_burst_count": "10G",
}


def lacks(settings: HomeserverSettings) -> dict[Capability, Missing]:
    """Return what a Synapse with these settings cannot do, beside `MISSING`."""
    return {Capability.SNAPSHOT: DATA_ELSEWHERE} if {"database", "media_store_path"} & settings.extra.keys() else {}


def lifted_limits(restored: str | Collection[str]) -> dict[str, Any]:
    """Return the configuration that lifts every limit but the `restored` ones ("none", "default" for all, or names)."""
    if restored == "default":
        return {}
    names = set() if restored == "none" else {restored} if isinstance(restored, str) else set(restored)
    if unknown := names - RATE_LIMITS.keys():
        known = ", ".join(RATE_LIMITS)
        raise Misuse(f"no such rate limit: {', '.join(sorted(unknown))}; there are {known}")
    return {name: value for name, value in RATE_LIMITS.items() if name not in names}


# Those of VERSION without the experimental ones. An unknown one would fail only when Synapse starts.
ROOM_VERSIONS = tuple(str(number) for number in range(1, 13))

CONFIG_FILE = "homeserver.yaml"
LOG_CONFIG_FILE = "log.yaml"
SIGNING_KEY_FILE = "signing.key"
APPSERVICE_FILE = "appservice-{number}.yaml"
DATABASE_FILE = "homeserver.db"
BCRYPT_ROUNDS = 4  # the least bcrypt allows: ten registrations in 0.2 s instead of 2.8 s
MEDIA_FOLDER = "media"
CONFIGURATION = (CONFIG_FILE, LOG_CONFIG_FILE, SIGNING_KEY_FILE, APPSERVICE_FILE.format(number="*"))


def synapse_config(
    settings: HomeserverSettings, secrets: Secrets, *, folder: str, port: int, bind: str = "127.0.0.1"
) -> dict[str, Any]:
    """Render `homeserver.yaml` as data. The server, perhaps in a container, sees `folder` and `bind`."""
    serves = ["client", "federation"] if settings.federation else ["client"]  # in plain HTTP: the proxy ends TLS
    return {
        "server_name": settings.server_name,
        "listeners": [
            {
                "port": port,
                "type": "http",
                "bind_addresses": [bind],  # loopback: not for others on the network
                "x_forwarded": False,
                "resources": [{"names": serves, "compress": False}],
            }
        ],
        "database": {
            "name": "sqlite3",
            "args": {"database": f"{folder}/{DATABASE_FILE}", "cp_min": 1, "cp_max": 1},
        },
        "signing_key_path": f"{folder}/{SIGNING_KEY_FILE}",
        "media_store_path": f"{folder}/{MEDIA_FOLDER}",
        "log_config": f"{folder}/{LOG_CONFIG_FILE}",
        "registration_shared_secret": secrets.registration_shared_secret,
        "macaroon_secret_key": secrets.macaroon_secret_key,
        "form_secret": secrets.form_secret,
        "enable_registration": False,  # the shared secret is the only way to an account
        "bcrypt_rounds": BCRYPT_ROUNDS,
        "report_stats": False,
        "trusted_key_servers": [],  # never ask matrix.org for keys
        "suppress_key_server_warning": True,
        "presence": {"enabled": False},  # noise in every sync
        "url_preview_enabled": False,  # no outgoing requests
        "allow_public_rooms_over_federation": False,
        "redaction_retention_period": None,  # keep redacted events for a look after a failed test
        "caches": {
            "global_factor": 10,  # the defaults thrash above some 500 rooms; the event cache (10K) grows with it
            # The default answers identical /sync requests from a cache for two minutes, with stale rooms, and a bot
            # that restarts twice sends identical first ones.
            "sync_response_cache_duration": "0s",
        },
        **({"default_room_version": settings.room_version} if settings.room_version else {}),
        "app_service_config_files": [f"{folder}/{name}" for name in appservice_files(settings)],
        **lifted_limits(settings.rate_limits),
        **(_to_peers(settings.federation) if settings.federation else {}),
        **settings.extra,
    }


def write_config(folder: Path, settings: HomeserverSettings, secrets: Secrets, port: int) -> None:
    """Write into a folder all that a Synapse on this machine reads at its start; its data goes there too."""
    config = synapse_config(settings, secrets, folder=str(folder), port=port)
    replace_text(folder / CONFIG_FILE, as_yaml(config))
    replace_text(folder / LOG_CONFIG_FILE, as_yaml(log_config(settings.log_level)))
    replace_text(folder / SIGNING_KEY_FILE, secrets.signing_key + "\n")
    for name, text in appservice_files(settings).items():
        replace_text(folder / name, text)


def appservice_files(settings: HomeserverSettings) -> dict[str, str]:
    """Return the registrations of application services, by the names of their files."""
    return {APPSERVICE_FILE.format(number=n): service.as_yaml() for n, service in enumerate(settings.appservices, 1)}


def _to_peers(federation: FederationSettings) -> dict[str, Any]:
    return {
        "https_proxy": federation.proxy,  # it knows the way to each peer, so nobody asks DNS
        "no_proxy_hosts": [],  # and none of the environment's
        "federation_custom_ca_list": [federation.authority],
        "serve_server_wellknown": True,  # says port 443: a peer that found nothing would look for an SRV record in DNS
        "federation": {
            # A peer that was away is tried again at once. By default that takes up to a minute, and ten minutes up to
            # a week after Synapse has given up.
            "max_long_retry_delay": 500,  # in ms
            "max_long_retries": 100_000,
            "destination_min_retry_interval": 0,
            "destination_max_retry_interval": 0,
        },
    }


def log_config(level: str) -> dict[str, Any]:
    """Render Synapse's logging configuration: one line per entry to stderr, which is our log file."""
    return {
        "version": 1,
        "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(request)s %(message)s"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"level": level, "handlers": ["stderr"]},
        "disable_existing_loggers": False,
    }


def as_yaml(data: dict[str, Any]) -> str:
    """Return data as YAML in block style, in the order given."""
    return yaml.safe_dump(data, sort_keys=False, default_flow_style=False)
