"""Evidence of a test for people to read: records, timelines and failure bundles."""
