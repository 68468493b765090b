"""Drafts of a findings text, written from what a model sees of a case: never a report, always marked."""
