"""What the platform may claim about a model, and how it is computed."""
