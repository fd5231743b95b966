"""Seeding: survey the server, plan, then act. A second run has nothing to do.

Each name is loaded when it is first used: `dev` reads a blueprint at each start, and seldom has anything to seed.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from greenroom.seed.plan import Plan as Plan
    from greenroom.seed.plan import make_plan as make_plan
    from greenroom.seed.seeder import Seeded as Seeded
    from greenroom.seed.seeder import Seeder as Seeder
    from greenroom.seed.seeder import seed as seed
    from greenroom.seed.survey import RoomView as RoomView
    from greenroom.seed.survey import ServerView as ServerView

_PLACES = {
    "Plan": "plan",
    "make_plan": "plan",
    "Seeded": "seeder",
    "Seeder": "seeder",
    "seed": "seeder",
    "RoomView": "survey",
    "ServerView": "survey",
}
__all__ = ["Plan", "RoomView", "Seeded", "Seeder", "ServerView", "make_plan", "seed"]


def __getattr__(name: str) -> object:
    """Load a name at its first use (PEP 562)."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
