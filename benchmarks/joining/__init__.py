"""What joining pods is worth: the same rows with one pod, with several, and in one place, as ``make study`` trains."""
