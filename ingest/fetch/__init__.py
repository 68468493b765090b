"""Fetching from servers: DICOMweb, C-STORE, an OMOP database; each writes files that readers then read."""
