"""Networks of others, exported by torch, read as differential equations."""
