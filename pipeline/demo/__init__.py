"""The demo: phantom scans and clips, the commands that run on them, and a report."""
