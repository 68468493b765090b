"""De-identification: what says who somebody is leaves a delivery, what the course was stays."""
