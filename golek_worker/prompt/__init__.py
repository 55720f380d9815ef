"""What text does the model continue? Pure: requests and templates in, text out."""
