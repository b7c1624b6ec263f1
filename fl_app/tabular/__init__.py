"""Tables, encodings, networks, training and metrics: knows neither secure aggregation nor Flower."""
