"""A web page that runs model files: Chromium, runtimes in WebAssembly, and a server for this computer alone."""
