"""Generated markets."""
