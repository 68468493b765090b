"""Sources become observations, and observations become aligned tensors."""
