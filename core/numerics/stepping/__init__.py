"""How a solve walks over time: fixed, shared and per-sample steps, their control, output and events."""
