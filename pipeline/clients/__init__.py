"""Clients that no one here wrote, given a bundle as it is: MediaPipe Tasks, and the runtimes of browsers."""
