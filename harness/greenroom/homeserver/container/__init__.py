"""A homeserver in a container: engine, image, labels, log and life cycle."""
