"""Build our own images, with or without a registry: the homeserver's, the bot's and PostgreSQL's."""
