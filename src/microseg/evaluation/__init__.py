"""How well predicted masks agree with annotated ones, in numbers and in figures."""
