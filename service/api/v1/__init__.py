"""Version 1: one file for each part of the contract, shapes and routes together. A table class is never a response."""
