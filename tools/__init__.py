"""Scripts run by hand for what the pipeline takes as given, `python -m tools.<name>`."""
