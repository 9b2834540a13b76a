"""What one does with a trained model and its predictions."""
