"""Networks, the logits of any Keras classifier, and image transforms."""

from mnist_cnn.settings import backend

backend.refuse_other()  # here, for the files of this room import Keras
