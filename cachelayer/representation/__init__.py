"""Rows as bytes: registrations, how rows are rendered, and which other rows they show."""
