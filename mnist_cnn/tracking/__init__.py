"""The only door to MLflow: runs, models, reading, store, registry."""

from mnist_cnn.settings import backend

backend.refuse_other()  # here, for the files of this room import Keras
