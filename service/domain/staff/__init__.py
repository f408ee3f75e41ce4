"""The people who work here: accounts, roles and their permissions, sessions, invitations."""
