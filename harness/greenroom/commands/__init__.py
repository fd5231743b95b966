"""The commands of `invoke` and `greenroom`."""
