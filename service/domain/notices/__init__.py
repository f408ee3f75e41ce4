"""What the product team tells: update and important notices, on the changelog and by mail to those who chose it."""
