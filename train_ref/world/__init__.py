"""A world of people with a known truth: it generates conversations, the right operations, questions and answers."""
