"""Durable dispatch (DBOS) and at-most-once effects. The only package that touches DBOS."""
