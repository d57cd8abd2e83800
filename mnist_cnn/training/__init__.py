"""The loop over the weights, attacks, evaluation, checkpoints."""

from mnist_cnn.settings import backend

backend.refuse_other()  # here, for the files of this room import Keras
