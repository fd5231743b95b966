"""Evidence of a test for people to read: records, timelines and failure bundles."""

from pathlib import Path

FAILURES = Path(".greenroom/failures")
"""Where commands leave their bundles, relative to the folder in which they are called."""
