"""What does `golek` do on this machine? A file for each group of commands."""
