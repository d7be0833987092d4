"""Delegates of mobile runtimes: what each takes, as its documentation or source says."""
