"""What the benchmark compares with; each answers /health like the lab."""
