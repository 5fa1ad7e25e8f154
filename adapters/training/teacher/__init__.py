"""Records made with a model: a teacher's completions, and preferences among a skill's own outputs."""
