"""Cores of ARM devices, emulated by QEMU's user mode with genuine aarch64 builds of both runtimes."""
