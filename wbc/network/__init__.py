"""Networks apart from their training: architecture, weights, input, inference and the model file."""
