"""Everything a network is without learning: model, input, inference and what it predicts."""
