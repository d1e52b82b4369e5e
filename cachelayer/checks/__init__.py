"""System checks: a configuration that would break the promise does not start."""
