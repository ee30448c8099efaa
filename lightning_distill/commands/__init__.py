"""Commands of the shell in addition to Lightning's fit, validate and test."""
