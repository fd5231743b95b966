"""What a test leaves behind for a person to read: records, timelines and failure bundles."""
