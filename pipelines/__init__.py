"""One file a command: `run(settings)` does the work and gives a frozen result, `main(settings)` prints it.

`python -m pipelines COMMAND` parses the settings before it imports the command's file, so that `--help` is instant.
"""
