"""Models that are one file: what is in it, by its header alone, and unpacking it once into a folder like any other.

`header` reads names and shapes, `layout` says which sizes the denoiser has by them, `parts` where the other parts of
the pipeline lie in the file, and `place` where it is unpacked to. Which model of the catalogue it is laid out like is
the catalogue's business (`catalogue/single_file.py`).
"""
