"""Built-in tasks: one technique per file."""
