"""Networks, the logits of any Keras classifier, and image transforms."""
