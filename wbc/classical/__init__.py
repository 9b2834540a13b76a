"""Classifiers on handcrafted features: the report's six, a seventh, and gradient boosting after SMOTE."""
