"""Species and vacancies on known sites: orderings, their symmetry, counting, operators, random keys and features."""
