"""How: tools behind five functions, each step in a process of its own."""
