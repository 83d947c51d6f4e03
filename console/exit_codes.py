"""Exit codes of every command."""

DONE, FAILED, QUARANTINED, STOPPED, TERMINATED = 0, 1, 3, 130, 143
