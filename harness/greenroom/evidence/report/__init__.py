"""The report of a run, to look at: one self-contained HTML file, a pure function of what was recorded."""
