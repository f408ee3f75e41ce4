"""What became of a mailing, and of our topics over time: read only, drawn by the server."""
