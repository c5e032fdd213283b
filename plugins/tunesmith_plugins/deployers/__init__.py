"""Built-in deployers: one technique per file."""
