"""Pure words of the house: errors, ids, clock, canonical JSON, redaction, access, change set.

No I/O, no clock, no randomness.
"""
