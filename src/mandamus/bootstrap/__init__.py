"""Builds the house: the one place where things are made, and where clock, randomness and environment come in."""
