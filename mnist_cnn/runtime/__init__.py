"""Hardware, signals, randomness, and the fingerprint of a run."""
