"""Milliseconds on a core that is not at hand, predicted from what an inference has to do there."""
