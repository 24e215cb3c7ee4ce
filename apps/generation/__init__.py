"""Generation: diffusion and flow models, whose samples are solutions of differential equations."""
