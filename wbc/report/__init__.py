"""The study's tables and figures, what the report prints beside what was measured here."""
