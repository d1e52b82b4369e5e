"""Lines of ``protocol.pml`` that several mutants edit."""

SWEEP = "repair(SETTLING_MINE, HERE) }"
