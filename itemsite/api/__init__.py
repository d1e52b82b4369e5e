"""How the site sets REST framework: bodies, errors, logins, rate limits, pages, OpenAPI."""
