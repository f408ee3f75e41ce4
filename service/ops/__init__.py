"""Keeping it running: the assembled house, health, figures for machines, backup, first seeds, demo."""
