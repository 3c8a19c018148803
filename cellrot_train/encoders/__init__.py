"""The four encoders, each an auto-encoder of a patch."""
