"""A web page that runs model files: Chromium, the pinned runtimes in WebAssembly, and a server for this computer alone."""
