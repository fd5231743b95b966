"""What a cause is found in: requests that went wrong, exceptions in a log, collisions."""
