"""What the shell offers beside Lightning's own fit, validate and test."""
