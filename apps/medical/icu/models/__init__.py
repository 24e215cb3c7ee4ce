"""Networks that read stays in intensive care."""
