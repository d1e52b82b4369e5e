"""System checks: a project whose configuration would break the promise does not start."""
