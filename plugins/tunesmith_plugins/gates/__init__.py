"""Built-in gates: one technique per file."""
