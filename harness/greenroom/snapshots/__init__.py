"""Snapshots: kept data of homeservers and bots, a cache of them, and homeservers that start from one."""
