"""Skills for other programs: PEFT folders both ways, files for vLLM, and skills merged into a base."""
