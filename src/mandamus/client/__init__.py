"""The API as Python calls it: a method for each operation, and a house of it for the command line."""
