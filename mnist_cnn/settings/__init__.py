"""What can be asked: fields, units, limits, and the grammars of targets and search spaces. No numpy."""

from mnist_cnn.settings.commands import *  # noqa: F403
