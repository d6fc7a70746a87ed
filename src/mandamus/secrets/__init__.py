"""Values that must not be seen: references resolved at the last moment, keys at rest."""
