"""The command line: options, progress, messages and exit codes; each command is a file in `commands`."""
