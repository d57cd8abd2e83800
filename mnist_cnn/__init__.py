"""MNIST, tracked: train a network, ask it what it wants to see, and judge whether a person could read it.

The package is a house of floors; a file imports only from floors below its own:

    3  tracking  figures                      doors to the outside, which do not know each other
    2  training  evaluation                   loops: arguments in, frozen result out
    1  dataset  networks  transforms  randomness
    0  settings                               standard library only

Importing this package imports nothing else.
"""

__version__ = "0.1.0"
