"""The loop over the weights, attacks, evaluation, checkpoints."""
