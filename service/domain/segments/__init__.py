"""Whom a mailing is for: a small typed filter over attributes, turned into SQL by us, never by staff."""
