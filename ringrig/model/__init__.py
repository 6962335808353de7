"""The executable specification: given traits and a state, what a call must return and change."""
