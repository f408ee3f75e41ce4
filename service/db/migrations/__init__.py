"""Alembic versions and the guards the first one puts up."""
