"""Files beside those that a target's runtimes read: formats that a profile asks for in `export.extra_formats`."""
