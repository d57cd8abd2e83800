"""MNIST, tracked: train a network, and ask it what it wants to see.

The package is a house of floors; a file imports only from floors below its own. The README has the map, a test
keeps it. Importing this package imports nothing else.
"""

__version__ = "0.1.0"
