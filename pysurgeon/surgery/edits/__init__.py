"""Edits as data, and the one place that performs them."""
