"""Built-in feedback: one technique per file."""
