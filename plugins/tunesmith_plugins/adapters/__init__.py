"""Built-in adapters: one technique per file."""
