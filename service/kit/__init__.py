"""Small pure pieces that everything above stands on. Nothing in here knows the database, HTTP or a feature."""
