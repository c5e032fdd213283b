"""Built-in quantizers: one technique per file."""
