"""Risk of death from records of intensive care, and what is told of it hour by hour."""
