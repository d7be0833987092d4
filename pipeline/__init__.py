"""edgepress: from a teacher network to gated mobile bundles, one stage after the other."""

__version__ = "0.1.0"
