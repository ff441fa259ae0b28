"""Spot the quantized model: blind pairs of images, shown to people, and a verdict by an exact test."""
