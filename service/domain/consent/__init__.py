"""What a person said about a topic, with its evidence: written through the ledger, read from it."""
