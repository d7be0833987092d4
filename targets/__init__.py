"""Devices: what each can run, how a file is run on it, and how fast."""
