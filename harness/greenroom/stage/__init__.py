"""The stage: a page beside a running `dev`, to be a person, see the bot and break it."""
