"""A hostile modeller: whoever chooses the question tries to make sums of three pods speak about one row.

The pods are real: tables, default policy, `client.app.main`. The server is the attacker's own; of the product it uses
what it likes. Each attack returns what it has read, and the tests compare that with the pods' tables.
"""
