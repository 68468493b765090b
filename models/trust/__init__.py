"""Trust: how far a prediction may be believed, and when to say nothing."""
