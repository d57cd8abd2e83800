"""The only door to Optuna: study, trial, worker."""
