"""Training of networks: losses, mixing, learning-rate schedule and the training loop."""
