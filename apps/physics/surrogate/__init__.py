"""Fields governed by partial differential equations: what steps them, or solves them at once, learned from solutions."""
