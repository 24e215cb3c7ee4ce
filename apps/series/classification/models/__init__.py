"""Networks that classify irregular series."""
