"""What people and commands do with the cache: clear, warm, verify, inspect, report."""
