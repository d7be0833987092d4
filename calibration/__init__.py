"""Which samples calibrate a quantizer, how they stream into it, and the manifest that says so."""
