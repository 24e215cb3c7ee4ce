"""Networks that label segments."""
