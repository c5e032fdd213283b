"""Built-in sources: one technique per file."""
