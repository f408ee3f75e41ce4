"""Whom we know: persons with their own keys, the sites' identities for them, addresses, profiles, attributes."""
