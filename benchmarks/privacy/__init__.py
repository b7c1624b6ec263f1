"""What a promise of privacy costs in accuracy: private runs at several budgets, as ``make study`` trains them."""
