"""The tamper-evident log: leaves, queue, integrator, tiles, checkpoints, offline verification."""
