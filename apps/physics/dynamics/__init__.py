"""Systems of ordinary differential equations, learned from trajectories."""
