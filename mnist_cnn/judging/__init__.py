"""Judges, scorecard, nearest digits, the ablation, promotion."""
