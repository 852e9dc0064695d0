"""Finding the weights: losses, optimizers, schedules, the loop and its checkpoints."""
