"""Running trained networks."""
