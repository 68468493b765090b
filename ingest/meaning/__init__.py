"""What codes, units, times and clocks mean."""
