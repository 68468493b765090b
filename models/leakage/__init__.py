"""The leakage audit: what tells the outcome in a cohort without being a sign of it."""
