"""hitherto: deep learning for markets that uses only what was known until now."""
