"""Training: from an aligned cohort to a network with the best weights that were seen."""
