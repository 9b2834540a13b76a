"""How a network learns: losses, mixing, schedule and the training loop."""
