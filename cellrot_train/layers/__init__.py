"""Layers that know how they transform when the image is turned."""
