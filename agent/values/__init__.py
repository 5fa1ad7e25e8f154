"""What a run is made of: its settings, its records and its result. Values without behaviour; they know no engine."""
