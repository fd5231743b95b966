"""Child processes and run manifests: start, stop, and tidy up after a crash."""
