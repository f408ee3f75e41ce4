"""The one append-only chain: every consent event, staff act, settings and state change. One pen writes it."""
