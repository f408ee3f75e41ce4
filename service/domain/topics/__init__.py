"""What we may write about: topics, and the versioned words people read when they agree."""
