"""DICOM files: what they say, what they show, and what in them contradicts the rest."""
