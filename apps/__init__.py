"""Applications: Lightning modules that train from one command."""
