"""Figures, descriptions, pages, progress; `templates/` holds HTML, CSS, JavaScript and Markdown."""

from mnist_cnn.settings import backend

backend.refuse_other()  # here, for the files of this room import Keras
