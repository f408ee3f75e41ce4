"""What time asks for: the clock that ticks, the timetable it reads, and the sender that empties the outbox."""
