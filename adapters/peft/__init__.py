"""Skills for other programs: adapters for vLLM, SGLang and llama.cpp, and skills merged into a base."""
