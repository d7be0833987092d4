"""Where the README's and the docs' figures come from: scripts that anyone can rerun, each writing JSON."""
