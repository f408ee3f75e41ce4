"""The door for programs: JSON over HTTP under /api/v1, keys and scopes, problem+json. No SQL and no rule lives here."""
