"""A public benchmark for leak detectors: planted uses of the future, and honest code that looks like them."""
