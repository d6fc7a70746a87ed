"""Proof: one bundle per run, sealed and verified offline."""
