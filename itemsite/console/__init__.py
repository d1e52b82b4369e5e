"""The page at ``/``: in the lab, a console to see, do, measure and break; elsewhere, the status."""
