"""Driving: the same rooms as `clinical`, for vehicles; empty until its first task."""
