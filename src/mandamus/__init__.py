"""Mandamus: a governed orchestrator. One package per floor; see ARCHITECTURE.md."""
