"""Mapping files: how columns become observations, and a first draft of one."""
