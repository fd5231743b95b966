"""Real homeservers. Code tells them apart only by what they can do."""

from greenroom.homeserver.appservice import Appservice
from greenroom.homeserver.interface import Backend, Capability, Homeserver, Missing, Registration, RunningHomeserver
from greenroom.homeserver.settings import SERVER_NAME, HomeserverSettings
from greenroom.homeserver.synapse_config import RATE_LIMITS

__all__ = [
    "RATE_LIMITS",
    "SERVER_NAME",
    "Appservice",
    "Backend",
    "Capability",
    "Homeserver",
    "HomeserverSettings",
    "Missing",
    "Registration",
    "RunningHomeserver",
]
