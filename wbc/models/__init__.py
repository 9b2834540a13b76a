"""The common interface of all models, and the file of a blend."""
