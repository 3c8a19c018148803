"""Find, classify and count the cells of microscope frames, without torch."""
