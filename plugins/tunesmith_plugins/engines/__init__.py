"""Built-in engines: one technique per file."""
