"""The model file, and the one interface of every model."""
