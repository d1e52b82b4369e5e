"""What the lab says when it cannot go on."""


class LabError(Exception):
    """One sentence that says what is wrong and what to do next."""
