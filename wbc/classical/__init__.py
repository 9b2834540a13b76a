"""Classifiers on handcrafted features: the report's six, and gradient boosting after SMOTE."""
