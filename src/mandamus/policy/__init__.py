"""May it: Rego in isolated workers, decisions recorded in full, trouble is a deny."""
