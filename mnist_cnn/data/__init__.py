"""The data set, read and checked; intervals of shares; the reference report's numbers."""
