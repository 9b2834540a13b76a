"""Networks: model, losses, schedule, augmentation and the training loop."""
