"""Synapse's rate limits: all lifted for tests, each of them restorable by its name."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from harness.errors import Misuse

NO_LIMIT = {"per_second": 1_000_000, "burst_count": 1_000_000}

# One entry per limit of synapse.config.ratelimiting; left out of the configuration, Synapse's default is back.
RATE_LIMITS: dict[str, Any] = {
    "rc_message": NO_LIMIT,  # also counts leaves and state: 10, then one per 5 s
    "rc_registration": NO_LIMIT,  # ours come through the admin API, which is not limited; a bot's own may not
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


def lifted_limits(restored: str | Collection[str]) -> dict[str, Any]:
    """Give the configuration that lifts every limit but the `restored` ones ("none", "default" for all, or names)."""
    if restored == "default":
        return {}
    names = set() if restored == "none" else {restored} if isinstance(restored, str) else set(restored)
    if unknown := names - RATE_LIMITS.keys():
        known = ", ".join(RATE_LIMITS)
        raise Misuse(f"no such rate limit: {', '.join(sorted(unknown))}; there are {known}")
    return {name: value for name, value in RATE_LIMITS.items() if name not in names}
