"""Continue prompts: the reference decoding loop, and what every engine shares."""
