"""Files on emulated cores of their device: outputs, instructions, and the latency predicted from these."""
