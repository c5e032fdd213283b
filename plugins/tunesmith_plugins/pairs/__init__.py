"""Built-in pairs: one technique per file."""
