"""Seeding: survey the server, plan, and only then act. A second run has nothing to do."""

from harness.seed.plan import Plan, make_plan
from harness.seed.seeder import Seeded, Seeder, seed
from harness.seed.view import RoomView, ServerView

__all__ = ["Plan", "RoomView", "Seeded", "Seeder", "ServerView", "make_plan", "seed"]
