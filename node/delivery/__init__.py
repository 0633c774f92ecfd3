"""Send evidence, and prove that it arrived."""
