"""What the world publishes, and when."""
