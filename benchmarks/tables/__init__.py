"""How the product does on other tables, told nothing but target and ignored columns: ``make study-tables``."""
