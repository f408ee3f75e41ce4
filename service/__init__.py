"""Bidden: what people and programs ask for. The doors are `web`, `api` and `cli`; `scheduler` is what time asks for."""
