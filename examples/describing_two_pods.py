from fl_app import Federation, describe

federation = Federation.load("census")
described = describe(federation, target="TARGET")

print(f"{described.rows} rows in all pods together, give or take {described.result.noise['rows']:.0f}")
print(described.frame[["kind", "rows", "missing", "mean", "50%", "top"]])

# Where are the classes most unlike? The share of the second class in each category and each stretch of a number.
second = described.result.classes[1]
shares = described.balance[described.balance["class"] == second]
print(shares[shares["rows"] > 200].sort_values("share").tail(5))

print(described.report())
