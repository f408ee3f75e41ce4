"""The do-not-mail list: keyed hashes of addresses, why, since when, and what would lift it."""
