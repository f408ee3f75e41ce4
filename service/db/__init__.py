"""The database: engine, transactions, locks and migrations. `engine` and `locks` alone know which dialect it is."""
