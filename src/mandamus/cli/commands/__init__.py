"""One module per command. A module imports what the command needs to parse; what it needs to act is handed in."""
