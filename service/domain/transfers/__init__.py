"""People who come from elsewhere and lists that go out: import with proof of consent, export with a reason."""
