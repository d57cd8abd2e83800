"""The only door to Optuna: study, trial, worker."""

from mnist_cnn.settings import backend

backend.refuse_other()  # here, for the files of this room import Keras
