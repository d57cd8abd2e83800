"""The only door to MLflow: runs, models, reading, store, registry."""
