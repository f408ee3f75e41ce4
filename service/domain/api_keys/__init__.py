"""Keys of programs: hashed, with a source, scopes and topics."""
