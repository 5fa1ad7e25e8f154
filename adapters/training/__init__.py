"""Training of skills: from records and recipes to weights with a card, for users' skills and for the shipped ones."""
