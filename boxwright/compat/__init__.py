"""Thin faces of the originals' APIs: change the import line of a script."""
