"""Named snapshots of the dev state: everything that homeserver and bot know at one moment, to come back to."""
