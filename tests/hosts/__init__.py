"""Tests against a real AUTOMATIC1111 or Forge that is running; not part of the fast tests.

Link this project and `tests/hosts/probe` into the host's `extensions`, put an SD1 checkpoint where it looks, start it
with `--api`, and run `python -m tests.hosts --help`.
"""
