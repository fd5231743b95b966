"""One person on the stage: the account that acts, and what the page shows of it."""
