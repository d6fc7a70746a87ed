"""What may run: workflows, environments, the source snapshot."""
