"""Views of a report: each writer turns one `Report` into one kind of file."""
