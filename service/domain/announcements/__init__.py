"""What marketing sends: written, submitted, approved on its exact content, scheduled, sent, reported."""
