"""What leaves: MEDS datasets, and CSV that no spreadsheet runs."""
