"""Seeding: survey the server, plan, then act. A second run has nothing to do."""

from greenroom.seed.plan import Plan, make_plan
from greenroom.seed.seeder import Seeded, Seeder, seed
from greenroom.seed.survey import RoomView, ServerView

__all__ = ["Plan", "RoomView", "Seeded", "Seeder", "ServerView", "make_plan", "seed"]
