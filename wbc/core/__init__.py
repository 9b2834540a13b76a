"""What every stage needs: the classes, files, messages, processes."""
