"""Ask a frozen network what it wants to see: gradient descent on the pixels of many images at once.

A file an idea: `targets` (what the network shall say), `starts` (where the search begins), `objectives` and
`penalties` (what is minimised), `ascent` (the compiled loop). Importing this package imports nothing else.
"""
