"""Figures, descriptions, pages, progress; `templates/` holds HTML, CSS, JavaScript and Markdown."""
