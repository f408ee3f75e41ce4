"""Faults on purpose: the SMTP sink that misbehaves by script. Imports nothing of the product."""
