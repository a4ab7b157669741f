"""Gradients, their averages over noisy images, and their integrals along paths."""
