"""The command-line door. Commands are loaded by name so that help stays instant."""
