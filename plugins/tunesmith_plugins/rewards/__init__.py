"""Built-in rewards: one technique per file."""
