"""Questions people ask us, and their rights: the contact form and its answers."""
