"""The command line: commands (one file each in `commands`), options, progress, messages and exit codes."""
