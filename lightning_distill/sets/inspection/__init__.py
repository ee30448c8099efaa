"""Inspection of a received set: card, signature, and defects of labels and pixels."""
