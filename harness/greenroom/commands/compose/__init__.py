"""The long-lived stack that `docker compose` runs."""
