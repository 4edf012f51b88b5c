"""From micrographs to logits, and from logits to masks."""
