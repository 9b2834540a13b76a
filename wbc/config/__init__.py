"""Settings: `params.yaml` and the files that each stage reads."""
