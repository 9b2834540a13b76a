"""Measurements run by hand, `python -m benchmarks.<name>`; what they found is in benchmarks/README.md."""
