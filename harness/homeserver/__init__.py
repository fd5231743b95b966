"""Real homeservers, told apart only by what they can do."""

from harness.homeserver.interface import Backend, Capability, Homeserver, Kind, RunningHomeserver
from harness.homeserver.limits import RATE_LIMITS
from harness.homeserver.settings import SERVER_NAME, HomeserverSettings

__all__ = [
    "RATE_LIMITS",
    "SERVER_NAME",
    "Backend",
    "Capability",
    "Homeserver",
    "HomeserverSettings",
    "Kind",
    "RunningHomeserver",
]
