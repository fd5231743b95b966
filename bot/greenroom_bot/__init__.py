"""A Matrix surface for some answering service: each room is one logical chat, and a restart recovers by itself."""
