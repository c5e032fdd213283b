"""Built-in filters: one technique per file."""
