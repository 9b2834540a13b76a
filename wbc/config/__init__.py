"""Settings: `params.yaml` in, one file for each stage out."""
