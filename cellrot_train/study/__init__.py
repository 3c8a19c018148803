"""The study: does rotation invariance help? What is compared, measured and said."""
