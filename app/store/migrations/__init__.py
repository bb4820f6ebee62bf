"""The history of the service's own tables. A change of `tables.py` needs a new file in `versions/`; a test compares."""
