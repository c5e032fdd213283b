"""Built-in distillers: one technique per file."""
