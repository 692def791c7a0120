"""What happens to one row, and every method under study."""
