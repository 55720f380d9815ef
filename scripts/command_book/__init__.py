"""The parts of scripts/run_command_book.py."""
