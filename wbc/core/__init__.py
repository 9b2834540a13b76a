"""Basics that every stage needs: classes, errors, files and tables."""
