"""FHIR R4 and R5, as JSON and as XML."""
